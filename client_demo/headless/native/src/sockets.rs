//! The system calls: many datagrams for one call, with what the kernel knows about each; epoll; limits. The only
//! module with unsafe code.
#![allow(unsafe_code, reason = "recvmmsg, epoll and socket options have no safe form in std")]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use libc::{c_int, c_void, sockaddr_storage, socklen_t};

/// Receptions for one system call.
const RECEPTIONS: usize = 8;
/// Octets of one reception: 64 segments of a datagram coalesced by the kernel fit (UDP_GRO).
const RECEPTION_LENGTH: usize = 65_536;
const CONTROL_LENGTH: usize = 128;
const EPOLL_EVENTS: usize = 256;

/// One reception: a datagram, or equal-sized ones that the kernel kept together.
pub struct Reception<'a> {
    /// The octets of all of them.
    pub data: &'a mut [u8],
    /// Octets of each but the last.
    pub segment: usize,
    /// Where they came from.
    pub from: Option<SocketAddr>,
    /// When the kernel received them, Unix microseconds; 0 if it did not say.
    pub wall_us: u64,
    /// Receptions dropped so far as the socket's buffer was full.
    pub drops: Option<u32>,
}

#[derive(Clone, Copy, Default)]
struct Received {
    length: usize,
    segment: usize,
    from: Option<SocketAddr>,
    wall_us: u64,
    drops: Option<u32>,
}

/// Buffers of one thread for [`Batch::receive`].
pub struct Batch {
    data: Vec<u8>,
    control: Vec<u64>,
    received: [Received; RECEPTIONS],
}

impl Batch {
    /// Allocates half a megabyte, for the thread's life.
    pub fn new() -> Self {
        Self {
            data: vec![0; RECEPTIONS * RECEPTION_LENGTH],
            control: vec![0; RECEPTIONS * CONTROL_LENGTH / 8],
            received: [Received::default(); RECEPTIONS],
        }
    }

    /// Reads what a socket has, without waiting; returns the number of receptions.
    ///
    /// # Errors
    /// Those of recvmmsg(2); `WouldBlock` if there is nothing.
    pub fn receive(&mut self, socket: &impl AsRawFd) -> io::Result<usize> {
        // SAFETY: all-zero is a valid value of these plain C structures.
        let (mut names, mut parts, mut headers) = unsafe {
            (
                zeroed::<[sockaddr_storage; RECEPTIONS]>(),
                zeroed::<[libc::iovec; RECEPTIONS]>(),
                zeroed::<[libc::mmsghdr; RECEPTIONS]>(),
            )
        };
        let control = self.control.as_mut_ptr().cast::<u8>();
        for (index, header) in headers.iter_mut().enumerate() {
            // SAFETY: index is below RECEPTIONS, so both stay within their allocations.
            let (data, control) =
                unsafe { (self.data.as_mut_ptr().add(index * RECEPTION_LENGTH), control.add(index * CONTROL_LENGTH)) };
            parts[index] = libc::iovec { iov_base: data.cast(), iov_len: RECEPTION_LENGTH };
            header.msg_hdr.msg_iov = &raw mut parts[index];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut names[index]).cast();
            header.msg_hdr.msg_namelen = size_of::<sockaddr_storage>() as socklen_t;
            header.msg_hdr.msg_control = control.cast();
            header.msg_hdr.msg_controllen = CONTROL_LENGTH as _;
        }
        // SAFETY: every pointer in `headers` points to memory of the stated length that outlives the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                RECEPTIONS as _,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for ((received, header), name) in self.received.iter_mut().zip(&headers).zip(&names).take(count) {
            *received = read_control(&header.msg_hdr);
            received.length = (header.msg_len as usize).min(RECEPTION_LENGTH);
            received.from = read_name(name);
            if received.segment == 0 {
                received.segment = received.length.max(1);
            }
        }
        Ok(count)
    }

    /// One reception of the last call.
    pub fn reception(&mut self, index: usize) -> Option<Reception<'_>> {
        let Received { length, segment, from, wall_us, drops } = *self.received.get(index)?;
        let start = index * RECEPTION_LENGTH;
        let data = self.data.get_mut(start..start + length)?;
        Some(Reception { data, segment, from, wall_us, drops })
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads segment size, time and drops from the control messages.
fn read_control(header: &libc::msghdr) -> Received {
    let mut received = Received::default();
    // SAFETY: the kernel filled `msg_control` up to `msg_controllen`; the macros stay within it, and each value is
    // read unaligned with the size the kernel gives that option.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            let value = libc::CMSG_DATA(message);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    received.segment = usize::try_from(ptr::read_unaligned(value.cast::<c_int>())).unwrap_or(0);
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                    received.drops = Some(ptr::read_unaligned(value.cast::<u32>()));
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let time = ptr::read_unaligned(value.cast::<libc::timespec>());
                    received.wall_us = time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000;
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    received
}

fn read_name(name: &sockaddr_storage) -> Option<SocketAddr> {
    match c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which structure the storage holds; the storage is large and aligned enough.
            let name = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(name.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let name = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some(SocketAddr::new(IpAddr::V6(ip), u16::from_be(name.sin6_port)))
        }
        _ => None,
    }
}

/// What the kernel granted a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Octets of its receive buffer, as the kernel counts them.
    pub receive_buffer: usize,
    /// Whether it keeps datagrams of one burst together.
    pub coalescing: bool,
}

/// Prepares a UDP socket: a receive buffer of this many octets (beyond the system's limit where we may), coalescing,
/// receive times, drop counts.
pub fn prepare(socket: &impl AsRawFd, receive_buffer: usize) -> Granted {
    let fd = socket.as_raw_fd();
    let wanted = c_int::try_from(receive_buffer).unwrap_or(c_int::MAX);
    if !set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, wanted) {
        set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, wanted);
    }
    set_option(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
    set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
    let coalescing = set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
    Granted { receive_buffer: receive_buffer_of(fd), coalescing }
}

fn set_option(fd: RawFd, level: c_int, option: c_int, value: c_int) -> bool {
    let length = size_of::<c_int>() as socklen_t;
    // SAFETY: the value outlives the call and has the stated length.
    unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast::<c_void>(), length) == 0 }
}

fn receive_buffer_of(fd: RawFd) -> usize {
    let (mut value, mut length): (c_int, socklen_t) = (0, size_of::<c_int>() as socklen_t);
    let target = (&raw mut value).cast::<c_void>();
    // SAFETY: `target` has room for the stated length.
    unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, target, &raw mut length) };
    usize::try_from(value).unwrap_or(0)
}

/// Begins a TCP connection without waiting for it: it can be written to once epoll says so.
///
/// # Errors
/// Those of socket(2) and connect(2).
pub fn connect_tcp(to: SocketAddr) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no pointers; a descriptor that is not negative is ours to own.
    let stream = unsafe {
        let fd = libc::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        TcpStream::from_raw_fd(fd)
    };
    // SAFETY: zero is valid for the structure, which is filled according to its family.
    let (name, length) = unsafe { write_name(to) };
    // SAFETY: the name has the stated length.
    let result = unsafe { libc::connect(stream.as_raw_fd(), (&raw const name).cast(), length) };
    let error = io::Error::last_os_error();
    if result < 0 && error.raw_os_error() != Some(libc::EINPROGRESS) {
        return Err(error);
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

unsafe fn write_name(address: SocketAddr) -> (sockaddr_storage, socklen_t) {
    // SAFETY: all-zero is valid, and the storage is large and aligned enough for each family's structure.
    unsafe {
        let mut storage = zeroed::<sockaddr_storage>();
        match address {
            SocketAddr::V4(address) => {
                let name = &mut *(&raw mut storage).cast::<libc::sockaddr_in>();
                name.sin_family = libc::AF_INET as _;
                name.sin_port = address.port().to_be();
                name.sin_addr.s_addr = u32::from(*address.ip()).to_be();
                (storage, size_of::<libc::sockaddr_in>() as socklen_t)
            }
            SocketAddr::V6(address) => {
                let name = &mut *(&raw mut storage).cast::<libc::sockaddr_in6>();
                name.sin6_family = libc::AF_INET6 as _;
                name.sin6_port = address.port().to_be();
                name.sin6_addr.s6_addr = address.ip().octets();
                name.sin6_scope_id = address.scope_id();
                (storage, size_of::<libc::sockaddr_in6>() as socklen_t)
            }
        }
    }
}

/// What [`Poller`] waits for on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read.
    Read,
    /// Something to read, or room to write.
    ReadWrite,
}

/// epoll, level-triggered.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poller {
    /// A poller of nothing.
    ///
    /// # Errors
    /// Those of epoll_create1(2).
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the descriptor is ours if it is not negative.
        let epoll = unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Self { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; EPOLL_EVENTS] })
    }

    /// Waits for `interest` on `target` from now on, under this name. Closing the descriptor ends that.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn add(&self, target: &impl AsRawFd, name: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, target.as_raw_fd(), name, interest)
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn change(&self, target: &impl AsRawFd, name: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, target.as_raw_fd(), name, interest)
    }

    fn control(&self, operation: c_int, fd: RawFd, name: u64, interest: Interest) -> io::Result<()> {
        let write = if interest == Interest::ReadWrite { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | write) as u32, u64: name };
        // SAFETY: the event outlives the call.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &raw mut event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits at most `timeout`; appends the names of what is ready.
    pub fn wait(&mut self, timeout: Duration, ready: &mut Vec<u64>) {
        let milliseconds = timeout.as_micros().div_ceil(1000).min(1000) as c_int;
        let (events, length) = (self.events.as_mut_ptr(), EPOLL_EVENTS as c_int);
        // SAFETY: `events` has room for `length` events.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events, length, milliseconds) };
        let count = usize::try_from(count).unwrap_or(0);
        ready.extend(self.events.iter().take(count).map(|event| event.u64));
    }
}

/// Lets this process open as many files as the system allows it; returns how many that are.
pub fn raise_file_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit outlives both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
    limit.rlim_cur
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn receives_with_sender_and_time() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_nonblocking(true).unwrap();
        assert!(prepare(&receiver, 1 << 20).receive_buffer > 0);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut batch = Batch::new();
        assert_eq!(batch.receive(&receiver).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        for length in [100, 0, 1200] {
            sender.send_to(&vec![7; length], receiver.local_addr().unwrap()).unwrap();
        }
        assert_eq!(batch.receive(&receiver).unwrap(), 3);
        for (index, length) in [100, 0, 1200].into_iter().enumerate() {
            let reception = batch.reception(index).unwrap();
            assert_eq!(reception.data, vec![7; length]);
            assert_eq!((reception.segment, reception.from), (length.max(1), Some(sender.local_addr().unwrap())));
            assert!(reception.wall_us.abs_diff(crate::clock::Clock::wall_us()) < 10_000_000);
        }
    }

    #[test]
    fn waits_for_what_is_ready() {
        let receiver = UdpSocket::bind("[::1]:0").unwrap();
        let mut poller = Poller::new().unwrap();
        poller.add(&receiver, 42, Interest::Read).unwrap();
        let mut ready = Vec::new();
        poller.wait(Duration::ZERO, &mut ready);
        assert!(ready.is_empty());
        receiver.send_to(&[1], receiver.local_addr().unwrap()).unwrap();
        poller.wait(Duration::from_secs(5), &mut ready);
        assert_eq!(ready, [42]);
        let mut batch = Batch::new();
        assert_eq!(batch.receive(&receiver).unwrap(), 1);
        assert_eq!(batch.reception(0).unwrap().from, Some(receiver.local_addr().unwrap()));
    }

    #[test]
    fn connects_over_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = std::net::TcpListener::bind(address).unwrap();
            let stream = connect_tcp(listener.local_addr().unwrap()).unwrap();
            assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
        }
    }
}
