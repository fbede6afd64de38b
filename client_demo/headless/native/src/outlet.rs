//! Whole pictures of decoding viewers, over a Unix socket to who decodes them.
//!
//! A record: octets that follow (u32), viewer (u64), arrival of the last packet in Unix microseconds (u64, 0 if not
//! known), RTP timestamp (u32), codec (u8: 1 H.264, 2 VP8), keyframe (u8), the picture. Big-endian.

use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::assembly::Whole;
use crate::sdp::Payload;

/// Most octets waiting for the reader.
const MAX_WAITING: usize = 8 << 20;
const HEADER: usize = 8 + 8 + 4 + 1 + 1;

/// The writing end.
pub struct Outlet {
    stream: UnixStream,
    waiting: Vec<u8>,
    dropped: u64,
}

impl Outlet {
    /// Connects to the reader.
    ///
    /// # Errors
    /// Those of connect(2).
    pub fn connect(path: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, waiting: Vec::new(), dropped: 0 })
    }

    /// Hands a picture on; drops it if the reader is too far behind.
    pub fn send(&mut self, viewer: u64, whole: Whole<'_>, wall_us: u64) {
        let length = HEADER + whole.data.len();
        if self.waiting.len() + 4 + length > MAX_WAITING {
            self.dropped += 1;
            return;
        }
        self.waiting.extend_from_slice(&(length as u32).to_be_bytes());
        self.waiting.extend_from_slice(&viewer.to_be_bytes());
        self.waiting.extend_from_slice(&wall_us.to_be_bytes());
        self.waiting.extend_from_slice(&whole.timestamp.to_be_bytes());
        self.waiting.extend_from_slice(&[if whole.codec == Payload::Vp8 { 2 } else { 1 }, u8::from(whole.keyframe)]);
        self.waiting.extend_from_slice(whole.data);
        self.flush();
    }

    /// Writes what the reader takes now.
    pub fn flush(&mut self) {
        while !self.waiting.is_empty() {
            match self.stream.write(&self.waiting) {
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.waiting.clear(),
            }
        }
    }

    /// Pictures dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_reader_that_does_not_read_costs_pictures_and_no_more() {
        let (stream, mut reader) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut outlet = Outlet { stream, waiting: Vec::new(), dropped: 0 };
        let data = vec![9; 1 << 20];
        let whole = Whole { timestamp: 5, codec: Payload::Vp8, keyframe: true, data: &data };
        (0..20).for_each(|_| outlet.send(3, whole, 11));
        assert!(outlet.waiting.len() <= MAX_WAITING && outlet.dropped() >= 10);
        let mut record = [0; 4 + HEADER];
        reader.read_exact(&mut record).unwrap();
        assert_eq!(record[..4], ((HEADER + data.len()) as u32).to_be_bytes());
        assert_eq!(record[4..], [&[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 5, 2, 1][..]].concat());
    }
}
