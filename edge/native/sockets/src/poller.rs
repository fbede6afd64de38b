//! Waiting for sockets, and being woken by other threads.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

const MAX_EVENTS: usize = 64;

/// What a registered descriptor is known by.
pub type Token = u64;

/// epoll, level-triggered.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poller {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        // No pointers; the descriptor is owned at once.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; MAX_EVENTS] })
    }

    /// Watch a descriptor for reading, and for writing too if `writable`.
    pub fn watch(&self, fd: RawFd, token: Token, writable: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, writable)
    }

    /// Change what is watched for.
    pub fn rewatch(&self, fd: RawFd, token: Token, writable: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, writable)
    }

    /// Watch no more.
    pub fn forget(&self, fd: RawFd) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, false);
    }

    fn control(&self, operation: libc::c_int, fd: RawFd, token: Token, writable: bool) -> io::Result<()> {
        let interest = libc::EPOLLIN | if writable { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event { events: interest as u32, u64: token };
        // The event lives until the call returns.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &raw mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Wait for the watched; returns their tokens.
    pub fn wait(&mut self, timeout: Duration, ready: &mut Vec<Token>) -> io::Result<()> {
        ready.clear();
        let timeout_ms = timeout.as_micros().div_ceil(1_000).min(1_000) as libc::c_int;
        // The events have room for the stated number.
        let count = unsafe {
            libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), MAX_EVENTS as libc::c_int, timeout_ms)
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        ready.extend(self.events.iter().take(count as usize).map(|event| event.u64));
        Ok(())
    }
}

/// A descriptor that becomes readable when another thread says so.
pub struct Waker(OwnedFd);

impl Waker {
    /// Not woken.
    pub fn new() -> io::Result<Self> {
        // No pointers; the descriptor is owned at once.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// For a poller.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Become readable.
    pub fn wake(&self) {
        let one = 1_u64;
        // Eight bytes that live until the call returns; a full counter is as readable as can be.
        unsafe { libc::write(self.fd(), (&raw const one).cast(), 8) };
    }

    /// Become unreadable.
    pub fn clear(&self) {
        let mut count = 0_u64;
        // Eight bytes that live until the call returns.
        unsafe { libc::read(self.fd(), (&raw mut count).cast(), 8) };
    }
}
