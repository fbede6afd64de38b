//! Where packets leave: what the logic asks of a socket layer, without knowing one.

use std::net::SocketAddr;

/// How a viewer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// Datagrams from our address of this number to that one.
    Udp(u8, SocketAddr),
    /// Frames on an accepted connection (RFC 4571): its number and where it came from.
    Tcp(u64, SocketAddr),
}

impl Path {
    /// The peer's address.
    pub fn address(self) -> SocketAddr {
        match self {
            Self::Udp(_, address) | Self::Tcp(_, address) => address,
        }
    }
}

/// Whether packets were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// They are on their way, or were refused by the network for good; either way nothing is to be done.
    Yes,
    /// There is no room now; none of them was taken.
    NoRoom,
}

/// Takes datagrams off the logic's hands. One call a run, so that a kernel send can carry many packets.
pub trait Outlet {
    /// Send `datagrams.len() / segment` datagrams of `segment` bytes (the last may be shorter) that `fill` writes into
    /// a buffer of exactly `bytes`.
    fn run(&mut self, path: Path, bytes: usize, segment: usize, fill: impl FnOnce(&mut [u8])) -> Taken;

    /// Send one datagram.
    fn datagram(&mut self, path: Path, datagram: &[u8]) -> Taken {
        self.run(path, datagram.len(), datagram.len(), |buffer| buffer.copy_from_slice(datagram))
    }
}
