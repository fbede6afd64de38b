//! VP8 payloads (RFC 7741 section 4.2), from senders that use any of the optional fields.

use super::DepacketizeError;

const HAS_EXTENSION: u8 = 0x80;
const STARTS_PARTITION: u8 = 0x10;
const PARTITION_MASK: u8 = 0x07;
const HAS_PICTURE_ID: u8 = 0x80;
const HAS_LAYER_INDEX: u8 = 0x40;
const HAS_TEMPORAL_OR_KEY_INDEX: u8 = 0x30;
const LONG_PICTURE_ID: u8 = 0x80;

/// The picture that is arriving.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    picture_id: Option<u16>,
}

impl State {
    pub(super) fn push(&mut self, payload: &[u8], frame: &mut Vec<u8>) -> Result<(), DepacketizeError> {
        let descriptor = Descriptor::read(payload).ok_or(DepacketizeError::Malformed)?;
        if descriptor.starts_frame != frame.is_empty() {
            return Err(DepacketizeError::Incomplete);
        }
        if descriptor.starts_frame {
            self.picture_id = descriptor.picture_id;
        } else if self.picture_id != descriptor.picture_id {
            return Err(DepacketizeError::Incomplete);
        }
        frame.extend_from_slice(descriptor.fragment);
        Ok(())
    }
}

/// Whether the payload descriptor says so.
pub(super) fn starts_frame(payload: &[u8]) -> bool {
    Descriptor::read(payload).is_some_and(|descriptor| descriptor.starts_frame)
}

struct Descriptor<'a> {
    starts_frame: bool,
    picture_id: Option<u16>,
    fragment: &'a [u8],
}

impl<'a> Descriptor<'a> {
    fn read(payload: &'a [u8]) -> Option<Self> {
        let (&first, mut rest) = payload.split_first()?;
        let starts_frame = first & STARTS_PARTITION != 0 && first & PARTITION_MASK == 0;
        let mut picture_id = None;
        if first & HAS_EXTENSION != 0 {
            let (&present, after) = rest.split_first()?;
            rest = after;
            if present & HAS_PICTURE_ID != 0 {
                let (id, after) = read_picture_id(rest)?;
                picture_id = Some(id);
                rest = after;
            }
            let others =
                usize::from(present & HAS_LAYER_INDEX != 0) + usize::from(present & HAS_TEMPORAL_OR_KEY_INDEX != 0);
            rest = rest.get(others..)?;
        }
        (!rest.is_empty()).then_some(Self { starts_frame, picture_id, fragment: rest })
    }
}

/// A picture identifier of 7 or 15 bits, and what follows it.
fn read_picture_id(bytes: &[u8]) -> Option<(u16, &[u8])> {
    match bytes {
        [high, low, rest @ ..] if high & LONG_PICTURE_ID != 0 => {
            Some((u16::from_be_bytes([high & !LONG_PICTURE_ID, *low]), rest))
        }
        [id, rest @ ..] if id & LONG_PICTURE_ID == 0 => Some((u16::from(*id), rest)),
        _ => None,
    }
}
