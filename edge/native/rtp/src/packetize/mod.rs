//! Cutting encoded frames into RTP payloads.
//!
//! The payloads of a frame are divided evenly, not filled up one after the other: segmentation offload sends a run
//! of equal datagrams in one call, and only the last of a run may be shorter.

mod av1;
mod h264;
mod opus;
mod vp8;

/// The largest frame that is cut or put together, in bytes.
pub const MAX_FRAME_LEN: usize = 16 << 20;

/// The smallest payload limit that is accepted, in bytes.
pub const MIN_MAX_PAYLOAD: usize = 64;

/// How a stream is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// H.264 in Annex B byte stream format; payloads follow RFC 6184, packetization mode 1.
    H264,
    /// VP8; payloads follow RFC 7741.
    Vp8,
    /// AV1, temporal units in low-overhead format; payloads follow the AOM's RTP specification 1.0.
    Av1,
    /// Opus; payloads follow RFC 7587.
    Opus,
}

/// Why a frame was not cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Nothing is left to send.
    Empty,
    /// The frame is longer than [`MAX_FRAME_LEN`], or an audio frame than one payload.
    TooLarge,
    /// The frame is not in its codec's format.
    Malformed,
    /// The payload limit is below [`MIN_MAX_PAYLOAD`].
    PayloadTooSmall,
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "the frame has nothing to send",
            Self::TooLarge => "the frame is too long for its codec",
            Self::Malformed => "the frame is not in its codec's format",
            Self::PayloadTooSmall => "the payload limit is below 64 bytes",
        })
    }
}

impl std::error::Error for FrameError {}

/// The payloads of one frame, one after the other; kept and used again, it allocates nothing once warm.
#[derive(Clone, Debug, Default)]
pub struct Payloads {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Payloads {
    /// No payloads.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all payloads, but keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Number of payloads.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Length of all payloads together, in bytes.
    pub fn total_len(&self) -> usize {
        self.bytes.len()
    }

    /// The payload at `index`.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(start..end)
    }

    /// The payloads in the order of sending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        let mut start = 0;
        self.ends.iter().map(move |&end| &self.bytes[std::mem::replace(&mut start, end)..end])
    }

    /// Appends to the payload that is being written.
    fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Ends the payload that is being written.
    fn end_payload(&mut self) {
        self.ends.push(self.bytes.len());
    }
}

/// Cuts `frame` into payloads of at most `max_payload` bytes, which replace what `out` held. `picture_id` numbers
/// the frames of a VP8 stream (15 bits) and means nothing elsewhere.
///
/// # Errors
/// [`FrameError`]; `out` is then empty.
pub fn packetize(
    codec: Codec,
    frame: &[u8],
    max_payload: usize,
    picture_id: u16,
    out: &mut Payloads,
) -> Result<(), FrameError> {
    out.clear();
    if frame.len() > MAX_FRAME_LEN {
        return Err(FrameError::TooLarge);
    }
    if max_payload < MIN_MAX_PAYLOAD {
        return Err(FrameError::PayloadTooSmall);
    }
    let max_payload = max_payload.min(usize::from(u16::MAX));
    let result = match codec {
        Codec::H264 => h264::packetize(frame, max_payload, out),
        Codec::Vp8 => vp8::packetize(frame, max_payload, picture_id, out),
        Codec::Av1 => av1::packetize(frame, max_payload, out),
        Codec::Opus => opus::packetize(frame, max_payload, out),
    };
    match result {
        Ok(()) if out.is_empty() => Err(FrameError::Empty),
        Ok(()) => Ok(()),
        Err(error) => {
            out.clear();
            Err(error)
        }
    }
}

/// Whether decoding can begin at `frame`; `false` for frames that are not in their codec's format.
pub fn is_keyframe(codec: Codec, frame: &[u8]) -> bool {
    match codec {
        Codec::H264 => h264::is_keyframe(frame),
        Codec::Vp8 => vp8::is_keyframe(frame),
        Codec::Av1 => av1::is_keyframe(frame),
        Codec::Opus => !frame.is_empty(),
    }
}

/// Whether decoding can begin at `frame` with nothing known before: as [`is_keyframe`], and for H.264 with the parameter
/// sets that its slices name.
pub fn is_entry_point(codec: Codec, frame: &[u8]) -> bool {
    is_keyframe(codec, frame) && (codec != Codec::H264 || h264::has_parameter_sets(frame))
}

/// The length of the parts of `total` bytes that are as few as `max` allows and equal but for the last; at least 1.
fn even_len(total: usize, max: usize) -> usize {
    let parts = total.div_ceil(max.max(1)).max(1);
    total.div_ceil(parts).max(1)
}
