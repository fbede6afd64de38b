//! A viewer's way to the server: a UDP socket, or a TCP connection with framing (RFC 4571, RFC 6544).

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

use crate::sockets::{self, Granted, Interest, Poller};

/// Most octets waiting for a TCP connection; what does not fit is dropped, as a datagram would be.
const MAX_OUTGOING: usize = 256 * 1024;
/// Octets read from a TCP connection at a time; the longest frame fits.
const READ_LENGTH: usize = 128 * 1024;
const PREFIX: usize = 2;

/// The way to the server.
pub enum Link {
    /// One UDP socket; `peer` once it is connected.
    Udp {
        /// The socket.
        socket: UdpSocket,
        /// Where it is connected to.
        peer: Option<SocketAddr>,
    },
    /// One TCP connection.
    Tcp(Box<TcpLink>),
}

impl Link {
    /// A UDP socket on a free port of `local`.
    ///
    /// # Errors
    /// Those of socket(2) and bind(2).
    pub fn udp(local: IpAddr, receive_buffer: usize) -> io::Result<(Self, Granted)> {
        let socket = UdpSocket::bind((local, 0))?;
        socket.set_nonblocking(true)?;
        let granted = sockets::prepare(&socket, receive_buffer);
        Ok((Self::Udp { socket, peer: None }, granted))
    }

    /// Sends a datagram; one that cannot be sent now is lost.
    ///
    /// # Errors
    /// Those that end the connection.
    pub fn send(&mut self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        let sent = match self {
            Self::Udp { socket, peer: Some(peer) } if *peer == to => socket.send(datagram),
            Self::Udp { socket, .. } => socket.send_to(datagram, to),
            Self::Tcp(link) => return link.send(datagram),
        };
        match sent {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes datagrams of this peer alone from now on.
    pub fn connect(&mut self, to: SocketAddr) {
        if let Self::Udp { socket, peer } = self
            && socket.connect(to).is_ok()
        {
            *peer = Some(to);
        }
    }
}

/// A TCP connection.
pub struct TcpLink {
    /// The stream, not blocking.
    pub stream: TcpStream,
    /// The other end.
    pub peer: SocketAddr,
    name: u64,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    waits_for_room: bool,
}

impl TcpLink {
    /// Begins to connect; `poller` then names it.
    ///
    /// # Errors
    /// Those of connect(2) and epoll_ctl(2).
    pub fn connect(to: SocketAddr, name: u64, poller: &Poller) -> io::Result<Self> {
        let stream = sockets::connect_tcp(to)?;
        poller.add(&stream, name, Interest::ReadWrite)?;
        Ok(Self { stream, peer: to, name, incoming: Vec::new(), outgoing: Vec::new(), waits_for_room: true })
    }

    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let Ok(length) = u16::try_from(datagram.len()) else {
            return Ok(());
        };
        if self.outgoing.len() + PREFIX + datagram.len() > MAX_OUTGOING {
            return Ok(());
        }
        self.outgoing.extend_from_slice(&length.to_be_bytes());
        self.outgoing.extend_from_slice(datagram);
        if self.waits_for_room { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes what waits, and tells `poller` whether to say when there is room for more.
    ///
    /// # Errors
    /// Those that end the connection.
    pub fn write_ready(&mut self, poller: &Poller) -> io::Result<()> {
        self.flush()?;
        let waits = !self.outgoing.is_empty();
        if waits != self.waits_for_room {
            self.waits_for_room = waits;
            let interest = if waits { Interest::ReadWrite } else { Interest::Read };
            poller.change(&self.stream, self.name, interest)?;
        }
        Ok(())
    }

    /// Reads what there is and hands each frame to `take`.
    ///
    /// # Errors
    /// Those that end the connection; `UnexpectedEof` when the server closed it.
    pub fn read(&mut self, mut take: impl FnMut(&mut [u8])) -> io::Result<()> {
        let start = self.incoming.len();
        self.incoming.resize(start + READ_LENGTH, 0);
        let read = self.stream.read(&mut self.incoming[start..]);
        self.incoming.truncate(start + read.as_ref().map_or(0, |length| *length));
        match read {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        let mut at = 0;
        while let Some(length) = frame_length(&self.incoming[at..]) {
            let end = at + PREFIX + length;
            take(&mut self.incoming[at + PREFIX..end]);
            at = end;
        }
        self.incoming.drain(..at);
        Ok(())
    }
}

/// The length of the frame that begins here, once all of it is there.
fn frame_length(incoming: &[u8]) -> Option<usize> {
    let length = usize::from(u16::from_be_bytes(*incoming.first_chunk()?));
    (incoming.len() >= PREFIX + length).then_some(length)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    #[test]
    fn tcp_frames_survive_any_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut poller = Poller::new().unwrap();
        let mut link = TcpLink::connect(listener.local_addr().unwrap(), 1, &poller).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.set_nodelay(true).unwrap();
        link.send(b"first").unwrap();
        poller.wait(Duration::from_secs(5), &mut Vec::new());
        link.write_ready(&poller).unwrap();
        link.send(b"").unwrap();
        let mut sent = [0; 9];
        server.read_exact(&mut sent).unwrap();
        assert_eq!(&sent, b"\x00\x05first\x00\x00");
        let mut frames = Vec::new();
        for octet in b"\x00\x02ab\x00\x00\x00\x01c" {
            server.write_all(&[*octet]).unwrap();
            poller.wait(Duration::from_secs(5), &mut Vec::new());
            link.read(|frame| frames.push(frame.to_vec())).unwrap();
        }
        assert_eq!(frames, [b"ab".to_vec(), vec![], b"c".to_vec()]);
        drop(server);
        poller.wait(Duration::from_secs(5), &mut Vec::new());
        assert_eq!(link.read(|_| ()).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}
