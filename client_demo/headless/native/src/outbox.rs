//! Datagrams to send, in one buffer that is kept.

use std::net::SocketAddr;

/// Datagrams with their destinations, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    ends: Vec<(SocketAddr, usize)>,
}

impl Outbox {
    /// Adds the datagram that `write` appends.
    pub fn write(&mut self, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push((to, self.bytes.len()));
    }

    /// Adds a datagram.
    pub fn push(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.write(to, |bytes| bytes.extend_from_slice(datagram));
    }

    /// The datagrams.
    pub fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |(to, end)| {
            let datagram = self.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            (*to, datagram)
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets them, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}
