//! AV1 (RTP payload format of the Alliance for Open Media, version 1.0, section 4).
//!
//! A payload is an aggregation header and elements, each a unit or a fragment of one. All but the last element
//! have a length; the last one has none where the payload has at most three.

use super::{FrameError, Payloads};
use crate::obu::{Obu, leb128_len, obu_type, write_leb128};

const CONTINUES_UNIT: u8 = 0x80;
const CONTINUED_IN_NEXT: u8 = 0x40;
const STARTS_SEQUENCE: u8 = 0x08;
const AGGREGATION_HEADER_LEN: usize = 1;

/// The most elements that the aggregation header counts.
const MAX_COUNTED: usize = 3;

/// The most units in a frame: an encoder makes a few for each tile, and dividing evenly looks at each many times.
const MAX_UNITS: usize = 4096;

/// Room that another element needs at least: one byte of length, one of content.
const MIN_ELEMENT_LEN: usize = 2;

pub(super) fn packetize(frame: &[u8], max_payload: usize, out: &mut Payloads) -> Result<(), FrameError> {
    let start = Cursor::at_start(frame)?;
    let limit = even_limit(&start, max_payload);
    let mut cursor = start;
    let mut first_flag = if is_keyframe(frame) { STARTS_SEQUENCE } else { 0 };
    while !cursor.is_at_end() {
        write_payload(&mut cursor, limit, std::mem::take(&mut first_flag), out);
    }
    Ok(())
}

/// Whether there is a sequence header, and the first frame is a key frame (AV1 specification, section 5.9.2).
pub(super) fn is_keyframe(frame: &[u8]) -> bool {
    let mut has_sequence_header = false;
    let mut rest = frame;
    while let Some((unit, after)) = Obu::read(rest) {
        match unit.kind() {
            obu_type::SEQUENCE_HEADER => has_sequence_header = true,
            obu_type::FRAME | obu_type::FRAME_HEADER => {
                // Three bits: an existing frame is shown again (0: no), and the frame type (0: key).
                let is_key = unit.payload().first().is_some_and(|bits| bits >> 5 == 0);
                return is_key && has_sequence_header;
            }
            _ => {}
        }
        rest = after;
    }
    false
}

/// The smallest payload limit that needs no more payloads than `max_payload` does.
fn even_limit(start: &Cursor<'_>, max_payload: usize) -> usize {
    let fewest = count_payloads(start, max_payload);
    let (mut too_small, mut enough) = (AGGREGATION_HEADER_LEN + MIN_ELEMENT_LEN, max_payload);
    while too_small + 1 < enough {
        let limit = too_small.midpoint(enough);
        if count_payloads(start, limit) <= fewest {
            enough = limit;
        } else {
            too_small = limit;
        }
    }
    enough
}

fn count_payloads(start: &Cursor<'_>, limit: usize) -> usize {
    let mut cursor = start.clone();
    let mut count = 0;
    while !cursor.is_at_end() {
        let mut room = limit - AGGREGATION_HEADER_LEN;
        let mut elements = 0;
        loop {
            elements += 1;
            let element = cursor.take(room, elements);
            room = room.saturating_sub(element.written_len());
            if element.is_last {
                break;
            }
        }
        count += 1;
    }
    count
}

fn write_payload(cursor: &mut Cursor<'_>, limit: usize, flags: u8, out: &mut Payloads) {
    let continues = if cursor.offset > 0 { CONTINUES_UNIT } else { 0 };
    let header_at = out.bytes.len();
    out.append(&[0]);
    let mut elements = 0;
    loop {
        elements += 1;
        let room = limit.saturating_sub(out.bytes.len() - header_at);
        let element = cursor.take(room, elements);
        if element.has_length {
            write_leb128(&mut out.bytes, element.len());
        }
        for part in element.unit.parts(element.start, element.end) {
            out.append(part);
        }
        if element.is_last {
            break;
        }
    }
    let continued = if cursor.offset > 0 { CONTINUED_IN_NEXT } else { 0 };
    let counted = if elements <= MAX_COUNTED { (elements as u8) << 4 } else { 0 };
    out.bytes[header_at] = continues | continued | counted | flags;
    out.end_payload();
}

/// A unit, or a fragment of it, that goes into a payload.
struct Element<'a> {
    unit: Obu<'a>,
    start: usize,
    end: usize,
    has_length: bool,
    is_last: bool,
}

impl Element<'_> {
    fn len(&self) -> usize {
        self.end - self.start
    }

    fn written_len(&self) -> usize {
        self.len() + if self.has_length { leb128_len(self.len()) } else { 0 }
    }
}

/// A place in the units that are carried.
#[derive(Clone)]
struct Cursor<'a> {
    unit: Option<Obu<'a>>,
    offset: usize,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Walks all units once, so that none fails later.
    fn at_start(frame: &'a [u8]) -> Result<Self, FrameError> {
        let mut rest = frame;
        for _ in 0..MAX_UNITS {
            if rest.is_empty() {
                break;
            }
            rest = Obu::read(rest).ok_or(FrameError::Malformed)?.1;
        }
        if !rest.is_empty() {
            return Err(FrameError::TooLarge);
        }
        let mut cursor = Self { unit: None, offset: 0, rest: frame };
        cursor.advance();
        cursor.unit.ok_or(FrameError::Empty)?;
        Ok(cursor)
    }

    fn is_at_end(&self) -> bool {
        self.unit.is_none()
    }

    fn advance(&mut self) {
        self.unit = None;
        self.offset = 0;
        while let Some((unit, rest)) = Obu::read(self.rest) {
            self.rest = rest;
            if unit.is_carried() {
                self.unit = Some(unit);
                break;
            }
        }
    }

    /// Whether units that are carried follow the present one.
    fn has_more(&self) -> bool {
        let mut ahead = self.clone();
        ahead.advance();
        !ahead.is_at_end()
    }

    /// Takes what goes into `room` as the payload's element number `number`, from 1.
    fn take(&mut self, room: usize, number: usize) -> Element<'a> {
        let unit = self.unit.unwrap_or(Obu::EMPTY);
        let left = unit.len() - self.offset;
        let sized = leb128_len(left) + left;
        let is_last = sized + MIN_ELEMENT_LEN > room || !self.has_more();
        let has_length = !is_last || number > MAX_COUNTED;
        let len = match (is_last, has_length) {
            (true, false) => left.min(room),
            (true, true) => left.min(longest_sized(room)),
            (false, _) => left,
        };
        let start = self.offset;
        self.offset += len;
        if self.offset >= unit.len() {
            self.advance();
        }
        Element { unit, start, end: start + len, has_length, is_last }
    }
}

/// The most content that fits into `room` with its length before it.
fn longest_sized(room: usize) -> usize {
    let shorter = room.saturating_sub(leb128_len(room));
    if leb128_len(shorter + 1) + shorter < room { shorter + 1 } else { shorter }
}
