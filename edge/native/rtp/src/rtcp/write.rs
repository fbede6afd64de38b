//! Writing RTCP packets, each appended to `out`.

use super::transport_feedback::{DELTA_UNIT_US, REFERENCE_UNIT_US, Symbol};
use super::{FirEntry, ReportBlock, SenderInfo, feedback_format, packet_type};

/// The most sources or blocks that the count field of a header holds.
const MAX_COUNT: usize = 31;

/// The most packets asked for, or keyframes, in one packet: about what a datagram holds.
const MAX_ENTRIES: usize = 150;

/// The most packets that one written feedback covers; keeps it within one datagram also with large deltas.
const MAX_FEEDBACK_PACKETS: usize = 400;

const SDES_CNAME: u8 = 1;

/// Writes a sender report (RFC 3550 section 6.4.1); blocks after the 31st are left out.
pub fn write_sender_report(out: &mut Vec<u8>, info: &SenderInfo, blocks: &[ReportBlock]) {
    let blocks = &blocks[..blocks.len().min(MAX_COUNT)];
    write_packet(out, packet_type::SENDER_REPORT, blocks.len() as u8, |out| {
        put_u32(out, info.ssrc);
        out.extend_from_slice(&info.ntp.to_be_bytes());
        put_u32(out, info.rtp_timestamp);
        put_u32(out, info.packet_count);
        put_u32(out, info.octet_count);
        put_blocks(out, blocks);
    });
}

/// Writes a receiver report (RFC 3550 section 6.4.2); blocks after the 31st are left out.
pub fn write_receiver_report(out: &mut Vec<u8>, ssrc: u32, blocks: &[ReportBlock]) {
    let blocks = &blocks[..blocks.len().min(MAX_COUNT)];
    write_packet(out, packet_type::RECEIVER_REPORT, blocks.len() as u8, |out| {
        put_u32(out, ssrc);
        put_blocks(out, blocks);
    });
}

/// Writes the canonical name of one source (RFC 3550 section 6.5); bytes after the 255th are left out.
pub fn write_sdes(out: &mut Vec<u8>, ssrc: u32, cname: &[u8]) {
    let cname = &cname[..cname.len().min(255)];
    write_packet(out, packet_type::SDES, 1, |out| {
        let start = out.len();
        put_u32(out, ssrc);
        out.extend_from_slice(&[SDES_CNAME, cname.len() as u8]);
        out.extend_from_slice(cname);
        let len = (out.len() + 1 - start).next_multiple_of(4);
        out.resize(start + len, 0);
    });
}

/// Writes a farewell (RFC 3550 section 6.6); sources after the 31st are left out.
pub fn write_bye(out: &mut Vec<u8>, ssrcs: &[u32]) {
    let ssrcs = &ssrcs[..ssrcs.len().min(MAX_COUNT)];
    write_packet(out, packet_type::BYE, ssrcs.len() as u8, |out| {
        ssrcs.iter().for_each(|&ssrc| put_u32(out, ssrc));
    });
}

/// Asks for packets again (RFC 4585 section 6.2.1). Sequence numbers that ascend share entries; those after the
/// 150th are left out. Without any, nothing is written.
pub fn write_nack(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32, sequences: &[u16]) {
    let sequences = &sequences[..sequences.len().min(MAX_ENTRIES)];
    let Some((&first, following)) = sequences.split_first() else { return };
    write_feedback(out, (packet_type::TRANSPORT_FEEDBACK, feedback_format::NACK), (sender_ssrc, media_ssrc), |out| {
        let (mut base, mut mask) = (first, 0_u16);
        for &sequence in following {
            match sequence.wrapping_sub(base) {
                0 => {}
                distance @ 1..=16 => mask |= 1 << (distance - 1),
                _ => {
                    put_u32(out, u32::from(base) << 16 | u32::from(mask));
                    (base, mask) = (sequence, 0);
                }
            }
        }
        put_u32(out, u32::from(base) << 16 | u32::from(mask));
    });
}

/// Says that the picture is lost (RFC 4585 section 6.3.1).
pub fn write_pli(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32) {
    let kind = (packet_type::PAYLOAD_FEEDBACK, feedback_format::PLI);
    write_feedback(out, kind, (sender_ssrc, media_ssrc), |_| {});
}

/// Asks for keyframes (RFC 5104 section 4.3.1). Entries after the 150th are left out. Without any,
/// nothing is written.
pub fn write_fir(out: &mut Vec<u8>, sender_ssrc: u32, entries: &[FirEntry]) {
    if entries.is_empty() {
        return;
    }
    let kind = (packet_type::PAYLOAD_FEEDBACK, feedback_format::FIR);
    write_feedback(out, kind, (sender_ssrc, 0), |out| {
        for entry in entries.iter().take(MAX_ENTRIES) {
            put_u32(out, entry.ssrc);
            put_u32(out, u32::from(entry.request) << 24);
        }
    });
}

/// States an estimated bandwidth (draft-alvestrand-rmcat-remb-03), rounded down to 18 significant bits; sources
/// after the 255th are left out.
pub fn write_remb(out: &mut Vec<u8>, sender_ssrc: u32, bitrate_bps: u64, ssrcs: &[u32]) {
    let ssrcs = &ssrcs[..ssrcs.len().min(255)];
    let exponent = (u64::BITS - bitrate_bps.leading_zeros()).saturating_sub(18);
    let mantissa = (bitrate_bps >> exponent) as u32;
    let kind = (packet_type::PAYLOAD_FEEDBACK, feedback_format::APPLICATION);
    write_feedback(out, kind, (sender_ssrc, 0), |out| {
        out.extend_from_slice(b"REMB");
        put_u32(out, (ssrcs.len() as u32) << 24 | exponent << 18 | mantissa);
        ssrcs.iter().for_each(|&ssrc| put_u32(out, ssrc));
    });
}

/// Reports arrivals (draft-holmer-rmcat-transport-wide-cc-extensions-01).
///
/// `arrivals_us` holds for each packet from `base_sequence` on when it arrived, in microseconds of any clock that
/// does not run backwards, or `None`. Returns how many of them the written packet covers: fewer than given where
/// they are many, or where the time between two of them does not fit (8.19 s); the caller goes on with the rest.
/// Nothing is written, and 0 returned, where none of them arrived.
pub fn write_transport_feedback(
    out: &mut Vec<u8>,
    sender_ssrc: u32,
    media_ssrc: u32,
    base_sequence: u16,
    feedback_count: u8,
    arrivals_us: &[Option<i64>],
) -> usize {
    let Some(first_us) = arrivals_us.iter().find_map(|arrival| *arrival) else { return 0 };
    let reference = first_us.div_euclid(REFERENCE_UNIT_US);
    let statuses = Statuses::of(reference * REFERENCE_UNIT_US, arrivals_us);
    let kind = (packet_type::TRANSPORT_FEEDBACK, feedback_format::TRANSPORT_WIDE);
    write_feedback(out, kind, (sender_ssrc, media_ssrc), |out| {
        out.extend_from_slice(&base_sequence.to_be_bytes());
        out.extend_from_slice(&(statuses.symbols.len() as u16).to_be_bytes());
        put_u32(out, (reference as u32) << 8 | u32::from(feedback_count));
        put_chunks(out, &statuses.symbols);
        out.extend_from_slice(&statuses.deltas);
    });
    statuses.symbols.len()
}

/// Symbols and deltas of as many packets as one feedback holds.
struct Statuses {
    symbols: Vec<Symbol>,
    deltas: Vec<u8>,
}

impl Statuses {
    fn of(reference_us: i64, arrivals_us: &[Option<i64>]) -> Self {
        let mut statuses = Self { symbols: Vec::new(), deltas: Vec::new() };
        let mut units_before = reference_us / DELTA_UNIT_US;
        for arrival_us in arrivals_us.iter().take(MAX_FEEDBACK_PACKETS) {
            let Some(arrival_us) = arrival_us else {
                statuses.symbols.push(Symbol::MISSING);
                continue;
            };
            let units = arrival_us.div_euclid(DELTA_UNIT_US);
            if !statuses.push_arrival(units.saturating_sub(units_before)) {
                break;
            }
            units_before = units;
        }
        statuses
    }

    /// Adds a packet that arrived `delta` units after the one before; `false` where that does not fit.
    fn push_arrival(&mut self, delta: i64) -> bool {
        if let Ok(small) = u8::try_from(delta) {
            self.symbols.push(Symbol::SMALL_DELTA);
            self.deltas.push(small);
        } else if let Ok(large) = i16::try_from(delta) {
            self.symbols.push(Symbol::LARGE_DELTA);
            self.deltas.extend_from_slice(&large.to_be_bytes());
        } else {
            return false;
        }
        true
    }
}

/// Writes runs where a symbol repeats, vectors of seven symbols elsewhere.
fn put_chunks(out: &mut Vec<u8>, mut symbols: &[Symbol]) {
    while let Some(&first) = symbols.first() {
        let run = symbols.iter().take_while(|&&symbol| symbol == first).count();
        let (chunk, len) = if run >= 7 || run == symbols.len() {
            (u16::from(first.0) << 13 | run as u16, run)
        } else {
            let (bits, len) = two_bit_vector(symbols);
            (0xC000 | bits, len)
        };
        out.extend_from_slice(&chunk.to_be_bytes());
        symbols = &symbols[len..];
    }
}

fn two_bit_vector(symbols: &[Symbol]) -> (u16, usize) {
    let len = symbols.len().min(7);
    let bits = (0..7).fold(0, |bits, at| bits << 2 | symbols.get(at).map_or(0, |symbol| u16::from(symbol.0)));
    (bits, len)
}

/// Writes a packet whose body `write_body` appends, fills it up to whole words, and sets its length.
fn write_packet(out: &mut Vec<u8>, packet_type: u8, format: u8, write_body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0x80 | format, packet_type, 0, 0]);
    write_body(out);
    let len = (out.len() - start).next_multiple_of(4);
    out.resize(start + len, 0);
    let words = (len / 4 - 1) as u16;
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

fn write_feedback(
    out: &mut Vec<u8>,
    (packet_type, format): (u8, u8),
    (sender_ssrc, media_ssrc): (u32, u32),
    write_control: impl FnOnce(&mut Vec<u8>),
) {
    write_packet(out, packet_type, format, |out| {
        put_u32(out, sender_ssrc);
        put_u32(out, media_ssrc);
        write_control(out);
    });
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_blocks(out: &mut Vec<u8>, blocks: &[ReportBlock]) {
    for block in blocks {
        put_u32(out, block.ssrc);
        let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7F_FFFF) as u32 & 0xFF_FFFF;
        put_u32(out, u32::from(block.fraction_lost) << 24 | lost);
        put_u32(out, block.highest_sequence);
        put_u32(out, block.jitter);
        put_u32(out, block.last_sender_report);
        put_u32(out, block.delay_since_last_sender_report);
    }
}
