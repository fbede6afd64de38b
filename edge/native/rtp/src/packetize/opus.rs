//! Opus: a frame is a payload (RFC 7587 section 4.2).

use super::{FrameError, Payloads};

pub(super) fn packetize(frame: &[u8], max_payload: usize, out: &mut Payloads) -> Result<(), FrameError> {
    if frame.len() > max_payload {
        return Err(FrameError::TooLarge);
    }
    if !frame.is_empty() {
        out.append(frame);
        out.end_payload();
    }
    Ok(())
}
