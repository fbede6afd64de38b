//! H.264 (RFC 6184): units in one payload each, small neighbours together (STAP-A), large ones in fragments (FU-A).

use super::{FrameError, Payloads, even_len};

const TYPE_MASK: u8 = 0x1F;
const IDR_SLICE: u8 = 5;
const SEQUENCE_PARAMETER_SET: u8 = 7;
const PICTURE_PARAMETER_SET: u8 = 8;
const ACCESS_UNIT_DELIMITER: u8 = 9;
const FILLER_DATA: u8 = 12;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;
const FU_HEADER_LEN: usize = 2;
const STAP_HEADER_LEN: usize = 1;
const STAP_SIZE_LEN: usize = 2;

pub(super) fn packetize(frame: &[u8], max_payload: usize, out: &mut Payloads) -> Result<(), FrameError> {
    let mut units = Units::of(frame)?;
    while let Some(unit) = units.next_carried() {
        let kind = unit[0] & TYPE_MASK;
        if kind == 0 || kind >= STAP_A {
            return Err(FrameError::Malformed);
        }
        if unit.len() > max_payload {
            fragment(unit, max_payload, out);
        } else {
            aggregate(unit, &mut units, max_payload, out);
        }
    }
    Ok(())
}

/// Whether there is a slice of an instantaneous decoding refresh.
pub(super) fn is_keyframe(frame: &[u8]) -> bool {
    let Ok(mut units) = Units::of(frame) else { return false };
    std::iter::from_fn(|| units.next_carried()).any(|unit| unit[0] & TYPE_MASK == IDR_SLICE)
}

/// Whether there is a sequence and a picture parameter set (H.264 section 7.4.1.2.1).
pub(super) fn has_parameter_sets(frame: &[u8]) -> bool {
    let Ok(units) = Units::of(frame) else { return false };
    let has = |kind| {
        let mut units = units.clone();
        std::iter::from_fn(|| units.next_carried()).any(|unit| unit[0] & TYPE_MASK == kind)
    };
    has(SEQUENCE_PARAMETER_SET) && has(PICTURE_PARAMETER_SET)
}

/// Writes a unit in equal fragments (RFC 6184 section 5.8).
fn fragment(unit: &[u8], max_payload: usize, out: &mut Payloads) {
    let (header, body) = (unit[0], &unit[1..]);
    let fragments = body.chunks(even_len(body.len(), max_payload - FU_HEADER_LEN));
    let last = fragments.len() - 1;
    for (at, fragment) in fragments.enumerate() {
        let start = if at == 0 { FU_START } else { 0 };
        let end = if at == last { FU_END } else { 0 };
        out.append(&[header & !TYPE_MASK | FU_A, start | end | header & TYPE_MASK]);
        out.append(fragment);
        out.end_payload();
    }
}

/// Writes a unit, with as many of those that follow as fit into the payload (RFC 6184 section 5.7.1).
fn aggregate(first: &[u8], units: &mut Units<'_>, max_payload: usize, out: &mut Payloads) {
    let room = max_payload.saturating_sub(STAP_HEADER_LEN + STAP_SIZE_LEN + first.len());
    let (count, header) = plan_aggregate(first, units.clone(), room);
    if count == 0 {
        out.append(first);
    } else {
        out.append(&[header]);
        append_sized(first, out);
        for unit in (0..count).filter_map(|_| units.next_carried()) {
            append_sized(unit, out);
        }
    }
    out.end_payload();
}

/// How many of the units that follow fit into `room`, and the header of the aggregate: the highest importance of
/// any unit, and its forbidden bit.
fn plan_aggregate(first: &[u8], mut units: Units<'_>, mut room: usize) -> (usize, u8) {
    let mut count = 0;
    let (mut forbidden, mut importance) = (first[0] & 0x80, first[0] & 0x60);
    while let Some(unit) = units.next_carried() {
        let kind = unit[0] & TYPE_MASK;
        match room.checked_sub(STAP_SIZE_LEN + unit.len()) {
            Some(left) if (1..STAP_A).contains(&kind) => room = left,
            _ => break,
        }
        forbidden |= unit[0] & 0x80;
        importance = importance.max(unit[0] & 0x60);
        count += 1;
    }
    (count, forbidden | importance | STAP_A)
}

fn append_sized(unit: &[u8], out: &mut Payloads) {
    out.append(&(unit.len() as u16).to_be_bytes());
    out.append(unit);
}

/// The units of a byte stream (H.264 Annex B), without start codes and trailing zeros; none is empty.
#[derive(Clone)]
struct Units<'a> {
    rest: &'a [u8],
}

impl<'a> Units<'a> {
    /// Expects a start code at the beginning, after zeros at most.
    fn of(frame: &'a [u8]) -> Result<Self, FrameError> {
        let (before, rest) = split_at_start_code(frame);
        if before.iter().any(|&byte| byte != 0) {
            return Err(FrameError::Malformed);
        }
        Ok(Self { rest })
    }

    /// The next unit that is not dropped: delimiters and filler are of no use to a receiver.
    fn next_carried(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (unit, rest) = split_at_start_code(self.rest);
            self.rest = rest;
            let len = unit.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            let is_dropped =
                unit.first().is_none_or(|header| matches!(header & TYPE_MASK, ACCESS_UNIT_DELIMITER | FILLER_DATA));
            if len > 0 && !is_dropped {
                return Some(&unit[..len]);
            }
        }
        None
    }
}

/// What stands before the first start code (a zero of a four-byte one included), and what after it.
fn split_at_start_code(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while let Some(&[first, second, third]) = bytes.get(at..at + 3) {
        if third > 1 {
            at += 3;
        } else if first == 0 && second == 0 && third == 1 {
            return (&bytes[..at], &bytes[at + 3..]);
        } else {
            at += 1;
        }
    }
    (bytes, &[])
}
