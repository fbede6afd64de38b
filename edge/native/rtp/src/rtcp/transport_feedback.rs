//! Arrival times of packets (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).

use super::Sources;
use crate::bytes::{read_u16, read_u32};

/// Unit of the reference time, in microseconds.
pub(super) const REFERENCE_UNIT_US: i64 = 64_000;

/// Unit of arrival deltas, in microseconds.
pub(super) const DELTA_UNIT_US: i64 = 250;

const FIXED_LEN: usize = 8;

/// What a receiver says about the arrival of a run of packets, numbered over the whole transport. Only a view
/// whose status chunks cover the stated count, and whose deltas are all there, comes to exist.
#[derive(Clone, Copy, Debug)]
pub struct TransportFeedback<'a> {
    /// Who received.
    pub sender_ssrc: u32,
    /// A source whose packets are among them.
    pub media_ssrc: u32,
    /// Transport-wide number of the first packet.
    pub base_sequence: u16,
    /// How many packets are reported on, from the first; 1 to 65,535.
    pub packet_count: u16,
    /// Number of this feedback packet, modulo 256.
    pub feedback_count: u8,
    reference_time_us: i64,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

/// What became of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketStatus {
    /// Transport-wide number.
    pub sequence: u16,
    /// When it arrived, in microseconds of the receiver's clock, whose origin is arbitrary; `None` if it did not.
    pub arrival_us: Option<i64>,
}

impl<'a> TransportFeedback<'a> {
    pub(super) fn read(sources: Sources, control: &'a [u8]) -> Option<Self> {
        let packet_count = read_u16(control, 2).filter(|&count| count > 0)?;
        let times = read_u32(control, 4)?;
        let body = control.get(FIXED_LEN..)?;
        let (chunks, deltas) = body.split_at_checked(chunks_len(body, packet_count)?)?;
        let view = Self {
            sender_ssrc: sources.sender,
            media_ssrc: sources.media,
            base_sequence: read_u16(control, 0)?,
            packet_count,
            feedback_count: times as u8,
            reference_time_us: i64::from(times as i32 >> 8) * REFERENCE_UNIT_US,
            chunks,
            deltas,
        };
        view.has_all_deltas().then_some(view)
    }

    /// The packets in the order of their numbers.
    pub fn packets(&self) -> Packets<'a> {
        Packets {
            symbols: self.symbols(),
            deltas: self.deltas,
            sequence: self.base_sequence,
            time_us: self.reference_time_us,
        }
    }

    fn symbols(&self) -> Symbols<'a> {
        Symbols { chunks: self.chunks, chunk: Chunk::EMPTY, remaining: self.packet_count }
    }

    fn has_all_deltas(&self) -> bool {
        let mut symbols = self.symbols();
        let needed = symbols.try_fold(0, |sum, symbol| Some(sum + symbol.delta_len()?));
        needed.is_some_and(|needed| needed <= self.deltas.len())
    }
}

/// Iterator over the packets of one feedback.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    symbols: Symbols<'a>,
    deltas: &'a [u8],
    sequence: u16,
    time_us: i64,
}

impl Iterator for Packets<'_> {
    type Item = PacketStatus;

    fn next(&mut self) -> Option<PacketStatus> {
        let symbol = self.symbols.next()?;
        let (delta, rest) = self.deltas.split_at_checked(symbol.delta_len()?)?;
        self.deltas = rest;
        let steps = match delta {
            [small] => Some(i64::from(*small)),
            [high, low] => Some(i64::from(i16::from_be_bytes([*high, *low]))),
            _ => None,
        };
        self.time_us += steps.unwrap_or(0) * DELTA_UNIT_US;
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Some(PacketStatus { sequence, arrival_us: steps.map(|_| self.time_us) })
    }
}

/// The status of one packet in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol(pub(super) u8);

impl Symbol {
    /// The packet did not arrive.
    pub(super) const MISSING: Self = Self(0);
    /// It arrived, and its delta has one byte.
    pub(super) const SMALL_DELTA: Self = Self(1);
    /// It arrived, and its delta has two bytes with sign.
    pub(super) const LARGE_DELTA: Self = Self(2);

    /// Length of the delta in bytes; `None` for the reserved symbol.
    fn delta_len(self) -> Option<usize> {
        (self.0 < 3).then_some(usize::from(self.0))
    }
}

/// A status chunk, which yields symbols from its front.
#[derive(Clone, Copy, Debug)]
enum Chunk {
    /// One symbol many times.
    Run { symbol: u8, left: u16 },
    /// Symbols of one or two bits; the next one stands at the top of the 14 bits.
    Vector { bits: u16, symbol_bits: u16, left: u16 },
}

impl Chunk {
    const EMPTY: Self = Self::Run { symbol: 0, left: 0 };

    fn read(word: u16) -> Self {
        match word >> 14 {
            0b10 => Self::Vector { bits: word & 0x3FFF, symbol_bits: 1, left: 14 },
            0b11 => Self::Vector { bits: word & 0x3FFF, symbol_bits: 2, left: 7 },
            _ => Self::Run { symbol: (word >> 13) as u8 & 3, left: word & 0x1FFF },
        }
    }

    fn len(self) -> u16 {
        match self {
            Self::Run { left, .. } | Self::Vector { left, .. } => left,
        }
    }

    fn next(&mut self) -> Option<Symbol> {
        match self {
            Self::Run { left: 0, .. } | Self::Vector { left: 0, .. } => None,
            Self::Run { symbol, left } => {
                *left -= 1;
                Some(Symbol(*symbol))
            }
            Self::Vector { bits, symbol_bits, left } => {
                let symbol = *bits >> (14 - *symbol_bits);
                *bits = *bits << *symbol_bits & 0x3FFF;
                *left -= 1;
                Some(Symbol(symbol as u8))
            }
        }
    }
}

/// The symbols of all chunks, no more than packets are reported on.
#[derive(Clone, Debug)]
struct Symbols<'a> {
    chunks: &'a [u8],
    chunk: Chunk,
    remaining: u16,
}

impl Iterator for Symbols<'_> {
    type Item = Symbol;

    fn next(&mut self) -> Option<Symbol> {
        self.remaining = self.remaining.checked_sub(1)?;
        loop {
            if let Some(symbol) = self.chunk.next() {
                return Some(symbol);
            }
            self.chunk = Chunk::read(read_u16(self.chunks, 0)?);
            self.chunks = &self.chunks[2..];
        }
    }
}

/// Length of the chunks at the start of `body` that cover `packet_count` packets, in bytes; `None` where the
/// body ends before, or a chunk covers none.
fn chunks_len(body: &[u8], packet_count: u16) -> Option<usize> {
    let mut uncovered = packet_count;
    let mut len = 0;
    while uncovered > 0 {
        let covered = Chunk::read(read_u16(body, len)?).len();
        if covered == 0 {
            return None;
        }
        uncovered = uncovered.saturating_sub(covered);
        len += 2;
    }
    Some(len)
}
