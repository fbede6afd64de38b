//! AV1 payloads (RTP payload format of the Alliance for Open Media, version 1.0, section 4).

use super::DepacketizeError;
use crate::obu::{Obu, obu_type, read_leb128};
use crate::packetize::MAX_FRAME_LEN;

const CONTINUES_UNIT: u8 = 0x80;
const CONTINUED_IN_NEXT: u8 = 0x40;

/// The fragments of the unit that is arriving.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    open_unit: Vec<u8>,
}

impl State {
    /// Drops the fragments, but keeps their memory.
    pub(super) fn clear(&mut self) {
        self.open_unit.clear();
    }

    /// Whether no fragment is awaited.
    pub(super) fn is_whole(&self) -> bool {
        self.open_unit.is_empty()
    }

    pub(super) fn push(&mut self, payload: &[u8], frame: &mut Vec<u8>) -> Result<(), DepacketizeError> {
        let (&header, mut rest) = payload.split_first().ok_or(DepacketizeError::Malformed)?;
        if (header & CONTINUES_UNIT != 0) == self.open_unit.is_empty() {
            return Err(DepacketizeError::Incomplete);
        }
        let counted = usize::from(header >> 4 & 3);
        let mut number = 0;
        loop {
            number += 1;
            let (element, after) = read_element(rest, number == counted).ok_or(DepacketizeError::Malformed)?;
            rest = after;
            self.open_unit.extend_from_slice(element);
            if self.open_unit.len() > MAX_FRAME_LEN {
                return Err(DepacketizeError::TooLarge);
            }
            let is_last = number == counted || counted == 0 && rest.is_empty();
            if !is_last || header & CONTINUED_IN_NEXT == 0 {
                self.end_unit(frame)?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Moves the unit that is now whole into the frame.
    fn end_unit(&mut self, frame: &mut Vec<u8>) -> Result<(), DepacketizeError> {
        let (unit, rest) = Obu::read(&self.open_unit).ok_or(DepacketizeError::Malformed)?;
        if !rest.is_empty() {
            return Err(DepacketizeError::Malformed);
        }
        if unit.is_carried() {
            unit.write_sized(frame);
        }
        self.open_unit.clear();
        Ok(())
    }
}

/// Whether the first element begins a unit that may stand first in a picture: no further tiles of one.
pub(super) fn starts_frame(payload: &[u8]) -> bool {
    let Some((&header, rest)) = payload.split_first() else { return false };
    let element = read_element(rest, header >> 4 & 3 == 1);
    let first = element.and_then(|(element, _)| Some(element.first()? >> 3 & 0x0F));
    header & CONTINUES_UNIT == 0 && first.is_some_and(|kind| kind != obu_type::TILE_GROUP)
}

/// The first element and what follows it; one without length takes all the rest. None is empty.
fn read_element(bytes: &[u8], is_without_length: bool) -> Option<(&[u8], &[u8])> {
    let (element, rest) = if is_without_length {
        (bytes, &[][..])
    } else {
        let (len, after) = read_leb128(bytes)?;
        after.split_at_checked(len)?
    };
    (!element.is_empty()).then_some((element, rest))
}
