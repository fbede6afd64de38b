//! The sending side: encrypts in place, without allocation.

use super::cipher::{PacketName, SessionCipher};
use super::keys::{MasterKey, Profile, RTCP_LABELS, RTP_LABELS};
use super::{RTCP_CLEAR_LEN, RTCP_ENCRYPTED, RTCP_INDEX_LEN, Unprotectable};
use crate::bytes::read_u32;
use crate::header::FIXED_HEADER_LEN;

/// Protects what one side of a DTLS association sends.
pub struct SrtpSender {
    profile: Profile,
    rtp: SessionCipher,
    rtcp: SessionCipher,
    next_rtcp_index: u32,
}

impl SrtpSender {
    /// Derives the session keys for RTP and RTCP.
    pub fn new(profile: Profile, master: &MasterKey) -> Self {
        Self {
            profile,
            rtp: SessionCipher::new(profile, master, RTP_LABELS),
            rtcp: SessionCipher::new(profile, master, RTCP_LABELS),
            next_rtcp_index: 0,
        }
    }

    /// The profile that it was made for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Protects one RTP packet in place.
    ///
    /// `packet` is the header of `header_len` bytes (with contributing sources and extensions), the payload, and
    /// [`Profile::rtp_tag_len`] bytes of room for the tag. `roc` is how often the stream's sequence number has
    /// wrapped. The caller never protects two different packets of one SSRC with the same `roc` and sequence
    /// number: that would reveal both.
    ///
    /// # Errors
    /// [`Unprotectable`] where `packet` is too short for its header and tag.
    pub fn protect_rtp(&self, roc: u32, packet: &mut [u8], header_len: usize) -> Result<(), Unprotectable> {
        let tag_at = packet.len().checked_sub(self.profile.rtp_tag_len()).ok_or(Unprotectable)?;
        if header_len < FIXED_HEADER_LEN || header_len > tag_at {
            return Err(Unprotectable);
        }
        let (packet, tag) = packet.split_at_mut(tag_at);
        let name = rtp_name(roc, packet).ok_or(Unprotectable)?;
        match &self.rtp {
            SessionCipher::Gcm(cipher) => {
                let (header, payload) = packet.split_at_mut(header_len);
                cipher.seal(name, header, payload, tag).map_err(|_| Unprotectable)?;
            }
            SessionCipher::CmSha1(cipher) => {
                cipher.apply(name, &mut packet[header_len..]);
                tag.copy_from_slice(&cipher.tag([packet, &roc.to_be_bytes()]));
            }
        }
        Ok(())
    }

    /// Protects one compound RTCP packet and appends what protection adds ([`Profile::rtcp_overhead_len`]).
    ///
    /// # Errors
    /// [`Unprotectable`] where `packet` is shorter than an RTCP header with its sender, or after 2^31 packets
    /// (RFC 3711 section 9.2).
    pub fn protect_rtcp(&mut self, packet: &mut Vec<u8>) -> Result<(), Unprotectable> {
        let index = self.next_rtcp_index;
        let ssrc = read_u32(packet, 4).ok_or(Unprotectable)?;
        if index & RTCP_ENCRYPTED != 0 {
            return Err(Unprotectable);
        }
        self.next_rtcp_index = index + 1;
        let name = PacketName { ssrc, index: u64::from(index) };
        let index_word = (index | RTCP_ENCRYPTED).to_be_bytes();
        match &self.rtcp {
            SessionCipher::Gcm(cipher) => {
                let mut clear = [0; RTCP_CLEAR_LEN + RTCP_INDEX_LEN];
                clear[..RTCP_CLEAR_LEN].copy_from_slice(&packet[..RTCP_CLEAR_LEN]);
                clear[RTCP_CLEAR_LEN..].copy_from_slice(&index_word);
                let tag_at = packet.len();
                packet.resize(tag_at + self.profile.rtp_tag_len(), 0);
                let (text, tag) = packet[RTCP_CLEAR_LEN..].split_at_mut(tag_at - RTCP_CLEAR_LEN);
                cipher.seal(name, &clear, text, tag).map_err(|_| Unprotectable)?;
                packet.extend_from_slice(&index_word);
            }
            SessionCipher::CmSha1(cipher) => {
                cipher.apply(name, &mut packet[RTCP_CLEAR_LEN..]);
                let tag = cipher.tag([packet, &index_word]);
                packet.extend_from_slice(&index_word);
                packet.extend_from_slice(&tag);
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn from_parts(profile: Profile, rtp: SessionCipher, rtcp: SessionCipher, next_rtcp_index: u32) -> Self {
        Self { profile, rtp, rtcp, next_rtcp_index }
    }
}

fn rtp_name(roc: u32, packet: &[u8]) -> Option<PacketName> {
    let sequence = u64::from(read_u32(packet, 0)? & 0xFFFF);
    let ssrc = read_u32(packet, 8)?;
    Some(PacketName { ssrc, index: u64::from(roc) << 16 | sequence })
}
