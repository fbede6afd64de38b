//! Sender and receiver reports, names and farewells (RFC 3550 sections 6.4 to 6.6).

use crate::bytes::{read_u32, words};

const BLOCK_LEN: usize = 24;
const SENDER_INFO_LEN: usize = 20;
const SDES_CNAME: u8 = 1;

/// What a sender states about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// The sender.
    pub ssrc: u32,
    /// When the report was sent: seconds since 1900 in the upper 32 bits, fractions in the lower.
    pub ntp: u64,
    /// The same moment in units of the stream's clock.
    pub rtp_timestamp: u32,
    /// RTP packets sent so far.
    pub packet_count: u32,
    /// Payload bytes sent so far.
    pub octet_count: u32,
}

/// What a receiver states about one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source that is reported on.
    pub ssrc: u32,
    /// Share of packets lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost so far; 24 bits with sign, duplicates count as negative losses.
    pub cumulative_lost: i32,
    /// Highest sequence number received, with rollovers in the upper 16 bits.
    pub highest_sequence: u32,
    /// Interarrival jitter in units of the stream's clock.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's `ntp`; 0 before any.
    pub last_sender_report: u32,
    /// Time from that report to this one, in 65,536ths of a second.
    pub delay_since_last_sender_report: u32,
}

impl ReportBlock {
    /// Round-trip time in microseconds, where `arrival` is the middle of our NTP time when this block arrived
    /// (see [`middle_of_ntp`]). `None` where the receiver had no sender report yet, or where its times cannot
    /// be true.
    pub fn round_trip_us(&self, arrival: u32) -> Option<u64> {
        if self.last_sender_report == 0 {
            return None;
        }
        let since_sent = arrival.wrapping_sub(self.last_sender_report);
        let round_trip = since_sent.checked_sub(self.delay_since_last_sender_report)?;
        Some((u64::from(round_trip) * 1_000_000) >> 16)
    }

    fn read(bytes: &[u8; BLOCK_LEN]) -> Option<Self> {
        let losses = read_u32(bytes, 4)?;
        Some(Self {
            ssrc: read_u32(bytes, 0)?,
            fraction_lost: (losses >> 24) as u8,
            cumulative_lost: ((losses << 8) as i32) >> 8,
            highest_sequence: read_u32(bytes, 8)?,
            jitter: read_u32(bytes, 12)?,
            last_sender_report: read_u32(bytes, 16)?,
            delay_since_last_sender_report: read_u32(bytes, 20)?,
        })
    }
}

/// The middle 32 bits of a 64-bit NTP time, as report blocks echo it.
pub fn middle_of_ntp(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// A sender report.
#[derive(Clone, Copy, Debug)]
pub struct SenderReport<'a> {
    /// The sender's own part.
    pub info: SenderInfo,
    blocks: &'a [u8],
}

impl<'a> SenderReport<'a> {
    pub(super) fn read(count: usize, body: &'a [u8]) -> Option<Self> {
        let info = SenderInfo {
            ssrc: read_u32(body, 0)?,
            ntp: u64::from(read_u32(body, 4)?) << 32 | u64::from(read_u32(body, 8)?),
            rtp_timestamp: read_u32(body, 12)?,
            packet_count: read_u32(body, 16)?,
            octet_count: read_u32(body, 20)?,
        };
        let blocks = body.get(4 + SENDER_INFO_LEN..)?.get(..count * BLOCK_LEN)?;
        Some(Self { info, blocks })
    }

    /// What the sender received from others.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        report_blocks(self.blocks)
    }
}

/// A receiver report.
#[derive(Clone, Copy, Debug)]
pub struct ReceiverReport<'a> {
    /// Who reports.
    pub ssrc: u32,
    blocks: &'a [u8],
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn read(count: usize, body: &'a [u8]) -> Option<Self> {
        let blocks = body.get(4..)?.get(..count * BLOCK_LEN)?;
        Some(Self { ssrc: read_u32(body, 0)?, blocks })
    }

    /// What it received, a block for each source.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        report_blocks(self.blocks)
    }
}

fn report_blocks(bytes: &[u8]) -> impl Iterator<Item = ReportBlock> + use<'_> {
    bytes.as_chunks::<BLOCK_LEN>().0.iter().filter_map(ReportBlock::read)
}

/// Sources that leave the session.
#[derive(Clone, Copy, Debug)]
pub struct Bye<'a> {
    sources: &'a [u8],
}

impl<'a> Bye<'a> {
    /// Takes the sources; a reason that may follow is not read.
    pub(super) fn read(count: usize, body: &'a [u8]) -> Option<Self> {
        Some(Self { sources: body.get(..4 * count)? })
    }

    /// The sources that leave.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        words(self.sources)
    }
}

/// Names of sources.
#[derive(Clone, Copy, Debug)]
pub struct Sdes<'a> {
    count: usize,
    chunks: &'a [u8],
}

impl<'a> Sdes<'a> {
    /// Walks all chunks once, so that iterating cannot fail.
    pub(super) fn read(count: usize, body: &'a [u8]) -> Option<Self> {
        let mut rest = body;
        for _ in 0..count {
            rest = SdesChunk::read(rest)?.1;
        }
        Some(Self { count, chunks: body })
    }

    /// Each source that gives a canonical name, with it (in no checked encoding).
    pub fn cnames(&self) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a> {
        let mut rest = self.chunks;
        (0..self.count).filter_map(move |_| {
            let (chunk, after) = SdesChunk::read(rest)?;
            rest = after;
            Some((chunk.ssrc, chunk.cname?))
        })
    }
}

/// One source's items, of which only the canonical name is kept.
struct SdesChunk<'a> {
    ssrc: u32,
    cname: Option<&'a [u8]>,
}

impl<'a> SdesChunk<'a> {
    /// Reads a chunk up to the word boundary after its end mark; returns it and what follows.
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut chunk = Self { ssrc: read_u32(bytes, 0)?, cname: None };
        let mut at = 4;
        loop {
            let kind = *bytes.get(at)?;
            if kind == 0 {
                let end = (at + 1).next_multiple_of(4);
                return Some((chunk, bytes.get(end..)?));
            }
            let len = usize::from(*bytes.get(at + 1)?);
            let text = bytes.get(at + 2..at + 2 + len)?;
            if kind == SDES_CNAME {
                chunk.cname = Some(text);
            }
            at += 2 + len;
        }
    }
}
