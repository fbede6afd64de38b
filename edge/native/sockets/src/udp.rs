//! UDP with as few system calls as the kernel allows: many datagrams in one receive, one picture in one send.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_void, iovec, mmsghdr, msghdr, sockaddr_storage, socklen_t};

/// Largest datagram taken; WebRTC keeps below 1,500.
const MAX_DATAGRAM_BYTES: usize = 2_048;
/// Datagrams of one receive.
pub(crate) const RECEIVE_BATCH: usize = 32;
/// Room for the datagrams of one send.
pub const SEND_BUFFER_BYTES: usize = 65_536;
/// Asked of the kernel for each direction of a socket.
const SOCKET_BUFFER_BYTES: c_int = 8 << 20;
/// `UDP_SEGMENT` of linux/udp.h.
const UDP_SEGMENT: c_int = 103;
const UDP_MAX_SEGMENTS: usize = 64;

/// How runs of datagrams are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendMode {
    /// One `sendmsg` with `UDP_SEGMENT`: the kernel cuts a run into datagrams (Linux 4.18).
    Gso,
    /// `sendmmsg`: one call, each datagram by itself.
    Sendmmsg,
}

impl SendMode {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gso => "gso",
            Self::Sendmmsg => "sendmmsg",
        }
    }
}

/// A non-blocking UDP socket that shares its port with those of other shards.
pub struct Udp {
    socket: UdpSocket,
    mode: Cell<SendMode>,
}

/// Room for the datagrams of one receive.
pub struct Batch {
    buffers: Vec<[u8; MAX_DATAGRAM_BYTES]>,
    addresses: [sockaddr_storage; RECEIVE_BATCH],
    vectors: [iovec; RECEIVE_BATCH],
    headers: [mmsghdr; RECEIVE_BATCH],
}

// The pointers in a batch point into itself and are set anew before each call.
unsafe impl Send for Batch {}

impl Batch {
    /// Empty.
    pub fn new() -> Box<Self> {
        // All-zero bytes are valid for these C structures: null pointers and zero lengths.
        let (addresses, vectors, headers) = unsafe { (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed()) };
        Box::new(Self { buffers: vec![[0; MAX_DATAGRAM_BYTES]; RECEIVE_BATCH], addresses, vectors, headers })
    }

    fn prepare(&mut self) {
        for at in 0..RECEIVE_BATCH {
            let buffer = &mut self.buffers[at];
            self.vectors[at] = iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: MAX_DATAGRAM_BYTES };
            let header = &mut self.headers[at].msg_hdr;
            header.msg_name = (&raw mut self.addresses[at]).cast();
            header.msg_namelen = size_of::<sockaddr_storage>() as socklen_t;
            header.msg_iov = &raw mut self.vectors[at];
            header.msg_iovlen = 1;
        }
    }

    /// Take what has come to a socket, at most one batch; returns how many datagrams.
    pub fn receive(&mut self, socket: RawFd, mut take: impl FnMut(SocketAddr, &mut [u8])) -> io::Result<usize> {
        self.prepare();
        // The headers point to live buffers of the stated lengths, set by `prepare`.
        let count =
            unsafe { libc::recvmmsg(socket, self.headers.as_mut_ptr(), RECEIVE_BATCH as u32, 0, std::ptr::null_mut()) };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
        }
        let count = count as usize;
        for at in 0..count {
            let length = (self.headers[at].msg_len as usize).min(MAX_DATAGRAM_BYTES);
            if let Some(from) = read_address(&self.addresses[at]) {
                take(from, &mut self.buffers[at][..length]);
            }
        }
        Ok(count)
    }
}

impl Udp {
    /// Bind, port 0 for a free one. With `reuse_port` other sockets may bind the same address.
    pub fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<Self> {
        let socket = open(address, libc::SOCK_DGRAM, reuse_port)?;
        for option in [libc::SO_RCVBUF, libc::SO_SNDBUF] {
            set_option(socket.as_raw_fd(), libc::SOL_SOCKET, option, SOCKET_BUFFER_BYTES)?;
        }
        for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
            // Only root may go beyond the system's limit; without, the limit holds.
            let _ = set_option(socket.as_raw_fd(), libc::SOL_SOCKET, option, SOCKET_BUFFER_BYTES);
        }
        bind(&socket, address)?;
        let mode = if supports_gso(socket.as_raw_fd()) { SendMode::Gso } else { SendMode::Sendmmsg };
        Ok(Self { socket: UdpSocket::from(socket), mode: Cell::new(mode) })
    }

    /// How runs are sent, found out when bound.
    pub fn mode(&self) -> SendMode {
        self.mode.get()
    }

    /// Send runs in this mode from now on, to compare.
    pub fn set_mode(&self, mode: SendMode) {
        self.mode.set(mode);
    }

    /// Where it is bound.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// For the poller.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Send `buffer` as datagrams of `segment` bytes, the last may be shorter. Returns false when there is no room now;
    /// what the network refuses for good counts as sent, as a lost datagram would.
    pub fn send(&self, to: SocketAddr, buffer: &[u8], segment: usize) -> bool {
        let mut sent = match self.mode.get() {
            _ if segment >= buffer.len() => self.send_one(to, buffer, None),
            SendMode::Gso => self.send_gso(to, buffer, segment),
            SendMode::Sendmmsg => self.send_many(to, buffer, segment),
        };
        if matches!(&sent, Err(error) if error.raw_os_error() == Some(libc::EIO)) && self.mode.get() == SendMode::Gso {
            // The way out has a device that cannot checksum what would be cut: send one by one from now on.
            self.mode.set(SendMode::Sendmmsg);
            sent = self.send_many(to, buffer, segment);
        }
        match sent {
            Ok(()) => true,
            Err(error) => !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS)),
        }
    }

    fn send_gso(&self, to: SocketAddr, buffer: &[u8], segment: usize) -> io::Result<()> {
        for part in buffer.chunks(segment * UDP_MAX_SEGMENTS) {
            self.send_one(to, part, (part.len() > segment).then_some(segment as u16))?;
        }
        Ok(())
    }

    fn send_one(&self, to: SocketAddr, buffer: &[u8], segment: Option<u16>) -> io::Result<()> {
        let (mut address, address_len) = write_address(to);
        let mut vector = iovec { iov_base: buffer.as_ptr() as *mut c_void, iov_len: buffer.len() };
        // Aligned for a control message header.
        let mut control = [0_u64; 4];
        // All-zero bytes are a valid empty header.
        let mut header: msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = (&raw mut address).cast();
        header.msg_namelen = address_len;
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        if let Some(segment) = segment {
            header.msg_control = control.as_mut_ptr().cast();
            // CMSG_SPACE only computes; the control buffer has room for a header and two bytes.
            header.msg_controllen = unsafe { libc::CMSG_SPACE(2) } as _;
            unsafe {
                let message = libc::CMSG_FIRSTHDR(&raw const header);
                (*message).cmsg_level = libc::SOL_UDP;
                (*message).cmsg_type = UDP_SEGMENT;
                (*message).cmsg_len = libc::CMSG_LEN(2) as _;
                libc::CMSG_DATA(message).cast::<u16>().write_unaligned(segment);
            }
        }
        // All pointers in the header live until the call returns.
        let sent = unsafe { libc::sendmsg(self.socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn send_many(&self, to: SocketAddr, buffer: &[u8], segment: usize) -> io::Result<()> {
        let (mut address, address_len) = write_address(to);
        for part in buffer.chunks(segment * UDP_MAX_SEGMENTS) {
            // All-zero bytes are valid empty vectors and headers.
            let mut vectors: [iovec; UDP_MAX_SEGMENTS] = unsafe { std::mem::zeroed() };
            let mut headers: [mmsghdr; UDP_MAX_SEGMENTS] = unsafe { std::mem::zeroed() };
            let mut count = 0;
            for datagram in part.chunks(segment) {
                vectors[count] = iovec { iov_base: datagram.as_ptr() as *mut c_void, iov_len: datagram.len() };
                let header = &mut headers[count].msg_hdr;
                header.msg_name = (&raw mut address).cast();
                header.msg_namelen = address_len;
                header.msg_iov = &raw mut vectors[count];
                header.msg_iovlen = 1;
                count += 1;
            }
            // All pointers in the first `count` headers live until the call returns.
            let sent = unsafe {
                libc::sendmmsg(self.socket.as_raw_fd(), headers.as_mut_ptr(), count as u32, libc::MSG_DONTWAIT)
            };
            if sent < 0 {
                return Err(io::Error::last_os_error());
            }
            // What did not fit after the first datagram is lost, as on a full line, and asked for again.
        }
        Ok(())
    }
}

/// Open a non-blocking socket for an address.
pub(crate) fn open(address: SocketAddr, kind: c_int, reuse_port: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // No pointers; the descriptor is owned at once.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    if address.is_ipv6() {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    if kind == libc::SOCK_STREAM {
        // A restarted edge takes its port back from connections that are closing.
        set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    }
    if reuse_port {
        set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    Ok(socket)
}

pub(crate) fn bind(socket: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    let (storage, length) = write_address(address);
    // The address lives until the call returns.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const storage).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub(crate) fn set_option(fd: RawFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let length = size_of::<c_int>() as socklen_t;
    // The value lives until the call returns.
    let result = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn supports_gso(fd: RawFd) -> bool {
    set_option(fd, libc::SOL_UDP, UDP_SEGMENT, 0).is_ok()
}

fn read_address(storage: &sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // The family says that it is an IPv4 address.
            let address = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = std::net::Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some(SocketAddr::from((ip, u16::from_be(address.sin_port))))
        }
        libc::AF_INET6 => {
            // The family says that it is an IPv6 address.
            let address = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = std::net::Ipv6Addr::from(address.sin6_addr.s6_addr);
            let port = u16::from_be(address.sin6_port);
            Some(std::net::SocketAddrV6::new(ip, port, 0, address.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn write_address(address: SocketAddr) -> (sockaddr_storage, socklen_t) {
    // All-zero bytes are a valid storage.
    let mut storage: sockaddr_storage = unsafe { std::mem::zeroed() };
    let length = match address {
        SocketAddr::V4(v4) => {
            // A storage has room and alignment for every kind of address.
            let out = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in>() };
            out.sin_family = libc::AF_INET as _;
            out.sin_port = v4.port().to_be();
            out.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            // A storage has room and alignment for every kind of address.
            let out = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in6>() };
            out.sin6_family = libc::AF_INET6 as _;
            out.sin6_port = v6.port().to_be();
            out.sin6_addr.s6_addr = v6.ip().octets();
            out.sin6_scope_id = v6.scope_id();
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as socklen_t)
}
