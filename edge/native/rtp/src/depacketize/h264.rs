//! H.264 payloads of packetization mode 1 (RFC 6184 section 5): single units, STAP-A, FU-A.

use super::DepacketizeError;
use crate::bytes::read_u16;

const TYPE_MASK: u8 = 0x1F;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;
const SLICE: u8 = 1;
const IDR_SLICE: u8 = 5;
/// Supplemental information, parameter sets and delimiters stand before the first slice (H.264 section 7.4.1.2.3).
const BEFORE_SLICES: std::ops::RangeInclusive<u8> = 6..=9;
/// `first_mb_in_slice` is 0, coded as a single bit (H.264 section 7.3.3).
const FIRST_SLICE: u8 = 0x80;
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// The header of the unit whose fragments are arriving.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    open_unit: Option<u8>,
}

impl State {
    /// Whether no fragment is awaited.
    pub(super) fn is_whole(&self) -> bool {
        self.open_unit.is_none()
    }

    pub(super) fn push(&mut self, payload: &[u8], frame: &mut Vec<u8>) -> Result<(), DepacketizeError> {
        let kind = payload.first().ok_or(DepacketizeError::Malformed)? & TYPE_MASK;
        if kind == FU_A {
            return self.push_fragment(payload, frame);
        }
        if self.open_unit.is_some() {
            return Err(DepacketizeError::Incomplete);
        }
        match kind {
            STAP_A => push_aggregate(&payload[1..], frame),
            _ => push_unit(payload, frame),
        }
    }

    fn push_fragment(&mut self, payload: &[u8], frame: &mut Vec<u8>) -> Result<(), DepacketizeError> {
        let [indicator, header, fragment @ ..] = payload else {
            return Err(DepacketizeError::Malformed);
        };
        let is_start = header & FU_START != 0;
        let is_end = header & FU_END != 0;
        let unit_header = indicator & !TYPE_MASK | header & TYPE_MASK;
        if fragment.is_empty() || is_start && is_end || !is_unit(unit_header) {
            return Err(DepacketizeError::Malformed);
        }
        if is_start != self.open_unit.is_none() {
            return Err(DepacketizeError::Incomplete);
        }
        if is_start {
            frame.extend_from_slice(&START_CODE);
            frame.push(unit_header);
        } else if self.open_unit != Some(unit_header) {
            return Err(DepacketizeError::Incomplete);
        }
        frame.extend_from_slice(fragment);
        self.open_unit = (!is_end).then_some(unit_header);
        Ok(())
    }
}

/// Whether the first unit in the payload, whole or its first fragment, begins a picture.
pub(super) fn starts_frame(payload: &[u8]) -> bool {
    let (kind, body) = match payload {
        [indicator, _, _, header, body @ ..] if indicator & TYPE_MASK == STAP_A => (header & TYPE_MASK, body),
        [indicator, header, body @ ..] if indicator & TYPE_MASK == FU_A => {
            if header & FU_START == 0 {
                return false;
            }
            (header & TYPE_MASK, body)
        }
        [header, body @ ..] => (header & TYPE_MASK, body),
        [] => return false,
    };
    let is_first_slice = body.first().is_some_and(|byte| byte & FIRST_SLICE != 0);
    BEFORE_SLICES.contains(&kind) || matches!(kind, SLICE | IDR_SLICE) && is_first_slice
}

fn push_aggregate(mut entries: &[u8], frame: &mut Vec<u8>) -> Result<(), DepacketizeError> {
    if entries.is_empty() {
        return Err(DepacketizeError::Malformed);
    }
    while !entries.is_empty() {
        let len = usize::from(read_u16(entries, 0).ok_or(DepacketizeError::Malformed)?);
        let unit = entries.get(2..2 + len).ok_or(DepacketizeError::Malformed)?;
        push_unit(unit, frame)?;
        entries = &entries[2 + len..];
    }
    Ok(())
}

fn push_unit(unit: &[u8], frame: &mut Vec<u8>) -> Result<(), DepacketizeError> {
    if !unit.first().is_some_and(|&header| is_unit(header)) {
        return Err(DepacketizeError::Malformed);
    }
    frame.extend_from_slice(&START_CODE);
    frame.extend_from_slice(unit);
    Ok(())
}

/// Whether a header is that of a unit as encoders make them, not of a payload structure.
fn is_unit(header: u8) -> bool {
    (1..STAP_A).contains(&(header & TYPE_MASK))
}
