//! Encryption and authentication of RTP and RTCP (RFC 3711, and RFC 7714 for AES-GCM).
//!
//! Keys come from a DTLS handshake (RFC 5764): [`split_keying_material`] cuts them, [`SrtpSender`] uses the one
//! of our side and [`SrtpReceiver`] the one of the peer's. A sender of RTP holds no per-packet state (the caller
//! counts rollovers), so one sender may encrypt for many streams; a receiver changes its state only after a packet
//! has been authenticated. Packets are worked on in place and nothing allocates.

mod cipher;
mod keys;
mod receiver;
mod replay;
mod sender;
#[cfg(test)]
mod tests;

pub use keys::{KeyLengthError, MasterKey, Profile, split_keying_material};
pub use receiver::{MAX_STREAMS, Received, Refused, SrtpReceiver};
pub use sender::SrtpSender;

/// The most bytes that any profile adds to an RTP packet.
pub const MAX_RTP_TAG_LEN: usize = 16;

/// Bytes of an RTCP packet that are never encrypted: the first header with its sender (RFC 3711 section 3.4).
const RTCP_CLEAR_LEN: usize = 8;

/// Length of the word with the encryption flag and the SRTCP index, in bytes.
const RTCP_INDEX_LEN: usize = 4;

/// The flag in that word that says that the packet is encrypted.
const RTCP_ENCRYPTED: u32 = 1 << 31;

/// The packet's ciphertext cannot be what was asked for: too short, or longer than the cipher takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unprotectable;

impl std::fmt::Display for Unprotectable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the packet has no room for its header and tag, or its key is worn out")
    }
}

impl std::error::Error for Unprotectable {}
