//! Feedback of receivers about media: lost packets, lost pictures, wanted keyframes, estimated bandwidth.

use super::Sources;
use crate::bytes::{read_u32, words};

const FIR_ENTRY_LEN: usize = 8;
const REMB_NAME: &[u8] = b"REMB";

/// Packets asked for again (RFC 4585 section 6.2.1).
#[derive(Clone, Copy, Debug)]
pub struct Nack<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    /// Whose packets are missing.
    pub media_ssrc: u32,
    entries: &'a [u8],
}

impl<'a> Nack<'a> {
    pub(super) fn read(sources: Sources, entries: &'a [u8]) -> Option<Self> {
        let nack = Self { sender_ssrc: sources.sender, media_ssrc: sources.media, entries };
        (!entries.is_empty()).then_some(nack)
    }

    /// The missing sequence numbers in the order written; a lying receiver may repeat some.
    pub fn sequences(&self) -> impl Iterator<Item = u16> + use<'a> {
        words(self.entries).flat_map(|entry| {
            let first = (entry >> 16) as u16;
            let following = (1..=16).filter(move |bit| entry >> (bit - 1) & 1 == 1);
            std::iter::once(first).chain(following.map(move |bit| first.wrapping_add(bit)))
        })
    }
}

/// The receiver has lost the picture (RFC 4585 section 6.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pli {
    /// Who lost it.
    pub sender_ssrc: u32,
    /// Whose picture it is.
    pub media_ssrc: u32,
}

impl Pli {
    pub(super) fn new(sources: Sources) -> Self {
        Self { sender_ssrc: sources.sender, media_ssrc: sources.media }
    }
}

/// Keyframes are wanted (RFC 5104 section 4.3.1).
#[derive(Clone, Copy, Debug)]
pub struct Fir<'a> {
    /// Who wants them.
    pub sender_ssrc: u32,
    entries: &'a [u8],
}

/// One wanted keyframe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirEntry {
    /// From whom.
    pub ssrc: u32,
    /// Number of the request; a repetition carries the same one.
    pub request: u8,
}

impl<'a> Fir<'a> {
    pub(super) fn read(sources: Sources, entries: &'a [u8]) -> Option<Self> {
        let is_whole = !entries.is_empty() && entries.len().is_multiple_of(FIR_ENTRY_LEN);
        is_whole.then_some(Self { sender_ssrc: sources.sender, entries })
    }

    /// The requests.
    pub fn entries(&self) -> impl Iterator<Item = FirEntry> + use<'a> {
        self.entries
            .as_chunks::<FIR_ENTRY_LEN>()
            .0
            .iter()
            .filter_map(|entry| Some(FirEntry { ssrc: read_u32(entry, 0)?, request: entry[4] }))
    }
}

/// The receiver's estimate of its bandwidth (draft-alvestrand-rmcat-remb-03).
#[derive(Clone, Copy, Debug)]
pub struct Remb<'a> {
    /// Who estimates.
    pub sender_ssrc: u32,
    /// Estimated bandwidth in bits a second; the largest value where the field holds more than 64 bits do.
    pub bitrate_bps: u64,
    sources: &'a [u8],
}

impl<'a> Remb<'a> {
    /// Whether application feedback is a REMB.
    pub(super) fn is_named_in(control: &[u8]) -> bool {
        control.starts_with(REMB_NAME)
    }

    pub(super) fn read(sources: Sources, control: &'a [u8]) -> Option<Self> {
        let fields = read_u32(control, REMB_NAME.len())?;
        let (count, exponent, mantissa) = (fields >> 24, fields >> 18 & 0x3F, fields & 0x3FFFF);
        let about = control.get(REMB_NAME.len() + 4..)?.get(..4 * count as usize)?;
        let bitrate_bps = u128::from(mantissa) << exponent;
        Some(Self {
            sender_ssrc: sources.sender,
            bitrate_bps: u64::try_from(bitrate_bps).unwrap_or(u64::MAX),
            sources: about,
        })
    }

    /// The sources that share the bandwidth.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        words(self.sources)
    }
}
