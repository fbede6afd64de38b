//! The receiving side: authenticates, decrypts in place, and refuses what it has seen.

use std::ops::Range;

use super::cipher::{PacketName, SessionCipher};
use super::keys::{MasterKey, Profile, RTCP_LABELS, RTP_LABELS};
use super::replay::ReplayWindow;
use super::{RTCP_CLEAR_LEN, RTCP_ENCRYPTED, RTCP_INDEX_LEN};
use crate::bytes::read_u32;
use crate::header::{RtpHeader, payload_range};

/// The most SSRCs that one receiver follows, for RTP and RTCP each. A peer that invents more is refused, so it
/// cannot make us remember without end.
pub const MAX_STREAMS: usize = 16;

/// A packet that was authenticated and decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Length of the RTP header with contributing sources and extensions, in bytes.
    pub header_len: usize,
    /// Where the plain payload lies in the packet, without padding and tag.
    pub payload: Range<usize>,
    /// The sequence number extended by its rollover counter to 48 bits.
    pub index: u64,
}

/// Why a packet was not taken; each is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not a protected packet at all, or one that is not encrypted.
    Malformed,
    /// The tag is wrong.
    Forged,
    /// Seen before, or too old to tell.
    Replayed,
    /// One SSRC more than [`MAX_STREAMS`].
    TooManyStreams,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Malformed => "not a protected packet",
            Self::Forged => "the authentication tag is wrong",
            Self::Replayed => "the packet was seen before or is too old",
            Self::TooManyStreams => "the peer uses more SSRCs than are followed",
        })
    }
}

impl std::error::Error for Refused {}

/// Opens what the other side of a DTLS association sends.
pub struct SrtpReceiver {
    profile: Profile,
    rtp: SessionCipher,
    rtcp: SessionCipher,
    rtp_streams: Streams,
    rtcp_streams: Streams,
}

impl SrtpReceiver {
    /// Derives the session keys for RTP and RTCP.
    pub fn new(profile: Profile, master: &MasterKey) -> Self {
        Self::from_ciphers(
            profile,
            SessionCipher::new(profile, master, RTP_LABELS),
            SessionCipher::new(profile, master, RTCP_LABELS),
        )
    }

    /// Authenticates and decrypts one RTP packet in place.
    ///
    /// # Errors
    /// [`Refused`]; the receiver's state is then as before, and the packet's bytes are undefined.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<Received, Refused> {
        let header = RtpHeader::read(packet).map_err(|_| Refused::Malformed)?;
        let (ssrc, sequence, header_len) = (header.ssrc(), header.sequence(), header.header_len());
        let tag_at = packet.len().checked_sub(self.profile.rtp_tag_len());
        let tag_at = tag_at.filter(|&at| at >= header_len).ok_or(Refused::Malformed)?;
        let index = self.rtp_streams.extend(ssrc, sequence)?;
        self.rtp_streams.check(ssrc, index)?;
        self.open_rtp(PacketName { ssrc, index }, packet, header_len, tag_at)?;
        self.rtp_streams.mark(ssrc, index);
        let payload = payload_range(&packet[..tag_at], header_len).map_err(|_| Refused::Malformed)?;
        Ok(Received { header_len, payload, index })
    }

    /// Authenticates and decrypts one compound RTCP packet in place; returns the length of the plain packet,
    /// which begins where the protected one did. Packets without encryption are refused, as WebRTC asks
    /// (RFC 8827 section 6.5).
    ///
    /// # Errors
    /// [`Refused`]; the receiver's state is then as before, and the packet's bytes are undefined.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Refused> {
        let plain_len = packet.len().checked_sub(self.profile.rtcp_overhead_len());
        let plain_len = plain_len.filter(|&len| len >= RTCP_CLEAR_LEN).ok_or(Refused::Malformed)?;
        let (word_at, tag_at) = match self.rtcp {
            SessionCipher::Gcm(_) => (packet.len() - RTCP_INDEX_LEN, plain_len),
            SessionCipher::CmSha1(_) => (plain_len, plain_len + RTCP_INDEX_LEN),
        };
        let ssrc = read_u32(packet, 4).ok_or(Refused::Malformed)?;
        let word = read_u32(packet, word_at).ok_or(Refused::Malformed)?;
        if packet[0] >> 6 != 2 || word & RTCP_ENCRYPTED == 0 {
            return Err(Refused::Malformed);
        }
        let index = u64::from(word & !RTCP_ENCRYPTED);
        self.rtcp_streams.check(ssrc, index)?;
        self.open_rtcp(PacketName { ssrc, index }, packet, plain_len, tag_at)?;
        self.rtcp_streams.mark(ssrc, index);
        Ok(plain_len)
    }

    fn open_rtp(&self, name: PacketName, packet: &mut [u8], header_len: usize, tag_at: usize) -> Result<(), Refused> {
        let (packet, tag) = packet.split_at_mut(tag_at);
        match &self.rtp {
            SessionCipher::Gcm(cipher) => {
                let (header, text) = packet.split_at_mut(header_len);
                cipher.open(name, header, text, tag).map_err(|_| Refused::Forged)
            }
            SessionCipher::CmSha1(cipher) => {
                let roc = (name.index >> 16) as u32;
                cipher.verify([packet, &roc.to_be_bytes()], tag).map_err(|_| Refused::Forged)?;
                cipher.apply(name, &mut packet[header_len..]);
                Ok(())
            }
        }
    }

    fn open_rtcp(&self, name: PacketName, packet: &mut [u8], plain_len: usize, tag_at: usize) -> Result<(), Refused> {
        let (packet, tag) = packet.split_at_mut(tag_at);
        let tag = &tag[..self.profile.rtp_tag_len()];
        match &self.rtcp {
            SessionCipher::Gcm(cipher) => {
                let index_word = (name.index as u32 | RTCP_ENCRYPTED).to_be_bytes();
                let (start, text) = packet.split_at_mut(RTCP_CLEAR_LEN);
                let mut clear = [0; RTCP_CLEAR_LEN + RTCP_INDEX_LEN];
                clear[..RTCP_CLEAR_LEN].copy_from_slice(start);
                clear[RTCP_CLEAR_LEN..].copy_from_slice(&index_word);
                cipher.open(name, &clear, text, tag).map_err(|_| Refused::Forged)
            }
            SessionCipher::CmSha1(cipher) => {
                cipher.verify([packet, &[]], tag).map_err(|_| Refused::Forged)?;
                cipher.apply(name, &mut packet[RTCP_CLEAR_LEN..plain_len]);
                Ok(())
            }
        }
    }

    pub(super) fn from_ciphers(profile: Profile, rtp: SessionCipher, rtcp: SessionCipher) -> Self {
        let (rtp_streams, rtcp_streams) = (Streams::default(), Streams::default());
        Self { profile, rtp, rtcp, rtp_streams, rtcp_streams }
    }
}

/// The replay windows of the SSRCs that were authenticated at least once.
#[derive(Default)]
struct Streams {
    windows: Vec<(u32, ReplayWindow)>,
}

impl Streams {
    fn find(&self, ssrc: u32) -> Option<&ReplayWindow> {
        self.windows.iter().find(|(known, _)| *known == ssrc).map(|(_, window)| window)
    }

    /// The extended index of a sequence number; a stream not yet known is in its first rollover.
    fn extend(&self, ssrc: u32, sequence: u16) -> Result<u64, Refused> {
        match self.find(ssrc) {
            Some(window) => window.extend(sequence).ok_or(Refused::Replayed),
            None => Ok(u64::from(sequence)),
        }
    }

    fn check(&self, ssrc: u32, index: u64) -> Result<(), Refused> {
        match self.find(ssrc) {
            Some(window) if window.is_fresh(index) => Ok(()),
            Some(_) => Err(Refused::Replayed),
            None if self.windows.len() < MAX_STREAMS => Ok(()),
            None => Err(Refused::TooManyStreams),
        }
    }

    fn mark(&mut self, ssrc: u32, index: u64) {
        match self.windows.iter_mut().find(|(known, _)| *known == ssrc) {
            Some((_, window)) => window.mark(index),
            None => self.windows.push((ssrc, ReplayWindow::starting_at(index))),
        }
    }
}
