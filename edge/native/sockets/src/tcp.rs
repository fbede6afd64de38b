//! ICE over TCP, passive side (RFC 6544), with the framing of RFC 4571: a length before each packet.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use crate::udp::{bind, open};

/// Largest packet in a frame.
const MAX_FRAME_BYTES: usize = 2_048;
/// What waits for a peer that does not read; beyond, nothing is taken.
const MAX_WAITING_BYTES: usize = 512 << 10;
/// A connection that has not proved a session by then is closed: it costs a descriptor.
pub const PROVE_WITHIN: Duration = Duration::from_secs(10);
/// Connections of one shard that have not proved a session.
pub const MAX_UNPROVED: usize = 256;

/// Listen on an address that other shards listen on too.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address, libc::SOCK_STREAM, true)?;
    bind(&socket, address)?;
    // No pointers.
    if unsafe { libc::listen(socket.as_raw_fd(), 256) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(TcpListener::from(socket))
}

/// One accepted connection.
pub struct Connection {
    /// Its number, unique in the process.
    pub number: u64,
    /// Where it came from.
    pub peer: SocketAddr,
    /// When it was accepted.
    pub since: Instant,
    /// Whether its viewer has proved a session.
    pub proved: bool,
    stream: TcpStream,
    received: Vec<u8>,
    waiting: Vec<u8>,
    sent: usize,
    broken: bool,
}

impl Connection {
    /// Take over an accepted stream.
    pub fn new(number: u64, stream: TcpStream, peer: SocketAddr, now: Instant) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let (received, waiting) = (Vec::new(), Vec::new());
        Ok(Self { number, peer, since: now, proved: false, stream, received, waiting, sent: 0, broken: false })
    }

    /// For the poller.
    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Whether there is more to write once the peer reads.
    pub fn wants_to_write(&self) -> bool {
        self.sent < self.waiting.len()
    }

    /// Read what has come and give out whole frames. Returns false when the connection is over or breaks the framing.
    pub fn receive(&mut self, frames: &mut Vec<Vec<u8>>) -> bool {
        let mut chunk = [0; 4 * MAX_FRAME_BYTES];
        match self.stream.read(&mut chunk) {
            Ok(0) => return false,
            Ok(count) => self.received.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) => return matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
        let mut at = 0;
        while let Some(head) = self.received.get(at..at + 2) {
            let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
            if length > MAX_FRAME_BYTES {
                return false;
            }
            let Some(frame) = self.received.get(at + 2..at + 2 + length) else { break };
            frames.push(frame.to_vec());
            at += 2 + length;
        }
        self.received.drain(..at);
        true
    }

    /// Take datagrams of `segment` bytes (the last may be shorter), each as a frame. Returns false without room; none
    /// is taken then.
    pub fn send(&mut self, buffer: &[u8], segment: usize) -> bool {
        if self.broken {
            return true;
        }
        if self.waiting.len() - self.sent > MAX_WAITING_BYTES {
            return false;
        }
        for datagram in buffer.chunks(segment.max(1)) {
            let length = u16::try_from(datagram.len()).unwrap_or(u16::MAX);
            self.waiting.extend_from_slice(&length.to_be_bytes());
            self.waiting.extend_from_slice(datagram);
        }
        self.flush();
        true
    }

    /// Write what waits, as far as the peer reads.
    pub fn flush(&mut self) {
        while self.wants_to_write() {
            match self.stream.write(self.waiting.get(self.sent..).unwrap_or_default()) {
                Ok(count) if count > 0 => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                _ => {
                    self.broken = true;
                    self.sent = self.waiting.len();
                }
            }
        }
        if self.sent == self.waiting.len() {
            self.waiting.clear();
            self.sent = 0;
        } else if self.sent > MAX_WAITING_BYTES {
            self.waiting.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests;
