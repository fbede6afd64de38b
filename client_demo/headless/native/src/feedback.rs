//! The RTCP a viewer sends (RFC 3550, RFC 4585), and the little it reads.

/// Packet types (RFC 3550 section 12.1, RFC 4585 section 6.1).
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const FORMAT_NACK: u8 = 1;
const FORMAT_PLI: u8 = 1;
const FORMAT_TRANSPORT_CC: u8 = 15;
const CNAME: u8 = 1;
const CNAME_TEXT: &[u8] = b"load";

/// One block of a receiver report (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream reported on.
    pub ssrc: u32,
    /// Lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Lost since the start; 24 bits are sent.
    pub cumulative_lost: u32,
    /// Highest sequence number, with its rollovers.
    pub highest_sequence: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle bits of the last sender report's NTP time, 0 without one.
    pub last_sender_report: u32,
    /// Since that report, in 65536ths of a second.
    pub delay_since: u32,
}

/// Appends a receiver report with a source description: the compound every viewer sends.
pub fn write_report(out: &mut Vec<u8>, own_ssrc: u32, blocks: &[ReportBlock]) {
    let start = begin(out, RECEIVER_REPORT, blocks.len().min(31) as u8, own_ssrc);
    for block in blocks.iter().take(31) {
        out.extend_from_slice(&block.ssrc.to_be_bytes());
        let lost = block.cumulative_lost.min(0x007f_ffff) | u32::from(block.fraction_lost) << 24;
        for word in [lost, block.highest_sequence, block.jitter, block.last_sender_report, block.delay_since] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
    finish(out, start);
    let start = begin(out, SOURCE_DESCRIPTION, 1, own_ssrc);
    out.extend_from_slice(&[CNAME, CNAME_TEXT.len() as u8]);
    out.extend_from_slice(CNAME_TEXT);
    out.push(0);
    finish(out, start);
}

/// Appends a generic NACK (RFC 4585 section 6.2.1) for sequence numbers in rising order.
pub fn write_nack(out: &mut Vec<u8>, own_ssrc: u32, media_ssrc: u32, sequences: &[u16]) {
    let start = begin(out, TRANSPORT_FEEDBACK, FORMAT_NACK, own_ssrc);
    out.extend_from_slice(&media_ssrc.to_be_bytes());
    let mut rest = sequences;
    while let Some((&first, more)) = rest.split_first() {
        let near = more.iter().take_while(|sequence| (1..=16).contains(&sequence.wrapping_sub(first))).count();
        let mask = more.iter().take(near).fold(0u16, |mask, sequence| mask | 1 << (sequence.wrapping_sub(first) - 1));
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&mask.to_be_bytes());
        rest = more.get(near..).unwrap_or_default();
    }
    finish(out, start);
}

/// Appends a picture loss indication (RFC 4585 section 6.3.1).
pub fn write_pli(out: &mut Vec<u8>, own_ssrc: u32, media_ssrc: u32) {
    let start = begin(out, PAYLOAD_FEEDBACK, FORMAT_PLI, own_ssrc);
    out.extend_from_slice(&media_ssrc.to_be_bytes());
    finish(out, start);
}

/// Appends a goodbye (RFC 3550 section 6.6).
pub fn write_goodbye(out: &mut Vec<u8>, own_ssrc: u32) {
    let start = begin(out, GOODBYE, 1, own_ssrc);
    finish(out, start);
}

/// Appends transport-wide feedback whose content `body` writes.
pub(crate) fn write_transport_cc(out: &mut Vec<u8>, own_ssrc: u32, media_ssrc: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = begin(out, TRANSPORT_FEEDBACK, FORMAT_TRANSPORT_CC, own_ssrc);
    out.extend_from_slice(&media_ssrc.to_be_bytes());
    body(out);
    finish(out, start);
}

/// The middle bits of a sender report's NTP time with its sender, from a compound packet; `None` without one.
pub fn sender_report(compound: &[u8]) -> Option<(u32, u32)> {
    let mut rest = compound;
    loop {
        let header = rest.get(..4)?;
        let length = (usize::from(u16::from_be_bytes([header[2], header[3]])) + 1) * 4;
        let packet = rest.get(..length)?;
        if header[1] == SENDER_REPORT {
            let ssrc = u32::from_be_bytes(packet.get(4..8)?.try_into().ok()?);
            let middle = u32::from_be_bytes(packet.get(10..14)?.try_into().ok()?);
            return Some((ssrc, middle));
        }
        rest = rest.get(length..)?;
    }
}

fn begin(out: &mut Vec<u8>, kind: u8, count: u8, own_ssrc: u32) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0x80 | count, kind, 0, 0]);
    out.extend_from_slice(&own_ssrc.to_be_bytes());
    start
}

/// Pads with zeros to a multiple of four octets and sets the length.
fn finish(out: &mut Vec<u8>, start: usize) {
    let length = (out.len() - start).next_multiple_of(4);
    out.resize(start + length, 0);
    let words = u16::try_from(length / 4 - 1).unwrap_or(u16::MAX);
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn report_has_the_published_layout() {
        let block = ReportBlock {
            ssrc: 0x0102_0304,
            fraction_lost: 5,
            cumulative_lost: 6,
            highest_sequence: 7,
            jitter: 8,
            last_sender_report: 9,
            delay_since: 10,
        };
        let mut out = Vec::new();
        write_report(&mut out, 1, &[block]);
        assert_eq!(out[..8], [0x81, 201, 0, 7, 0, 0, 0, 1]);
        assert_eq!(out[8..16], [1, 2, 3, 4, 5, 0, 0, 6]);
        assert_eq!(out[32..], [0x81, 202, 0, 3, 0, 0, 0, 1, 1, 4, b'l', b'o', b'a', b'd', 0, 0]);
    }

    #[test]
    fn nack_packs_seventeen_numbers_into_a_word() {
        let mut out = Vec::new();
        write_nack(&mut out, 1, 2, &[65_535, 0, 15, 16, 40]);
        assert_eq!(out[12..], [0xff, 0xff, 0x80, 0x01, 0, 16, 0, 0, 0, 40, 0, 0]);
    }

    #[test]
    fn sender_report_is_found_in_a_compound() {
        let mut out = Vec::new();
        write_pli(&mut out, 1, 2);
        out.extend_from_slice(&[0x80, 200, 0, 6, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8]);
        out.extend_from_slice(&[0; 12]);
        assert_eq!(sender_report(&out), Some((9, 0x0304_0506)));
    }

    proptest! {
        #[test]
        fn reads_any_octets(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = sender_report(&octets);
        }
    }
}
