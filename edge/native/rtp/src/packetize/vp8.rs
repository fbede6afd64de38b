//! VP8 (RFC 7741 section 4): fragments of the whole frame, partitions not told apart.

use super::{FrameError, Payloads, even_len};

const HAS_EXTENSION: u8 = 0x80;
const STARTS_PARTITION: u8 = 0x10;
const HAS_PICTURE_ID: u8 = 0x80;
const LONG_PICTURE_ID: u16 = 0x8000;
const DESCRIPTOR_LEN: usize = 4;

pub(super) fn packetize(
    frame: &[u8],
    max_payload: usize,
    picture_id: u16,
    out: &mut Payloads,
) -> Result<(), FrameError> {
    let [id_high, id_low] = (picture_id | LONG_PICTURE_ID).to_be_bytes();
    let len = even_len(frame.len(), max_payload - DESCRIPTOR_LEN);
    for (at, fragment) in frame.chunks(len).enumerate() {
        let start = if at == 0 { STARTS_PARTITION } else { 0 };
        out.append(&[HAS_EXTENSION | start, HAS_PICTURE_ID, id_high, id_low]);
        out.append(fragment);
        out.end_payload();
    }
    Ok(())
}

/// Whether the frame tag says so (RFC 6386 section 9.1).
pub(super) fn is_keyframe(frame: &[u8]) -> bool {
    frame.first().is_some_and(|tag| tag & 1 == 0)
}
