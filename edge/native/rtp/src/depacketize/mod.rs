//! Putting frames together from RTP payloads: of publishers, for the load generator, and for tests.
//!
//! The caller orders packets and knows from their timestamps which belong to one frame. A frame with a gap or a
//! contradiction is refused whole.

mod av1;
mod h264;
mod vp8;

use crate::packetize::{Codec, MAX_FRAME_LEN};

/// Why payloads make no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepacketizeError {
    /// A payload is not in its codec's format.
    Malformed,
    /// A payload or a part of one is missing, or they are out of order.
    Incomplete,
    /// The frame would be longer than [`MAX_FRAME_LEN`].
    TooLarge,
}

impl std::fmt::Display for DepacketizeError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Malformed => "a payload is not in its codec's format",
            Self::Incomplete => "a part of the frame is missing",
            Self::TooLarge => "the frame is longer than 16 MiB",
        })
    }
}

impl std::error::Error for DepacketizeError {}

/// Puts the payloads of one frame after the other together; keeps its memory.
#[derive(Clone, Debug)]
pub struct Depacketizer {
    frame: Vec<u8>,
    state: State,
    failure: Option<DepacketizeError>,
}

/// What a codec remembers between the payloads of a frame.
#[derive(Clone, Debug)]
enum State {
    H264(h264::State),
    Vp8(vp8::State),
    Av1(av1::State),
    Opus,
}

impl Depacketizer {
    /// One for a stream of this codec.
    pub fn new(codec: Codec) -> Self {
        let state = match codec {
            Codec::H264 => State::H264(h264::State::default()),
            Codec::Vp8 => State::Vp8(vp8::State::default()),
            Codec::Av1 => State::Av1(av1::State::default()),
            Codec::Opus => State::Opus,
        };
        Self { frame: Vec::new(), state, failure: None }
    }

    /// Drops what was pushed since the last frame.
    pub fn clear(&mut self) {
        self.frame.clear();
        self.failure = None;
        match &mut self.state {
            State::H264(state) => *state = h264::State::default(),
            State::Vp8(state) => *state = vp8::State::default(),
            State::Av1(state) => state.clear(),
            State::Opus => {}
        }
    }

    /// Adds the next payload of the frame.
    ///
    /// # Errors
    /// [`DepacketizeError`]; the frame is then lost, up to [`Depacketizer::clear`] or [`Depacketizer::finish`].
    pub fn push(&mut self, payload: &[u8]) -> Result<(), DepacketizeError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let result = self.try_push(payload);
        self.failure = result.err();
        result
    }

    /// Ends the frame: Annex B with four-byte start codes for H.264, units with sizes and without temporal
    /// delimiter for AV1, the frame itself otherwise. Moves it into `out`, whose memory is used for the next one.
    ///
    /// # Errors
    /// [`DepacketizeError`] of any of its payloads, or where the last one is missing; `out` is then empty.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), DepacketizeError> {
        let is_whole = !self.frame.is_empty()
            && match &self.state {
                State::H264(state) => state.is_whole(),
                State::Av1(state) => state.is_whole(),
                State::Vp8(_) | State::Opus => true,
            };
        let result = match self.failure {
            Some(failure) => Err(failure),
            None if is_whole => Ok(()),
            None => Err(DepacketizeError::Incomplete),
        };
        out.clear();
        if result.is_ok() {
            std::mem::swap(out, &mut self.frame);
        }
        self.clear();
        result
    }

    fn try_push(&mut self, payload: &[u8]) -> Result<(), DepacketizeError> {
        match &mut self.state {
            State::H264(state) => state.push(payload, &mut self.frame)?,
            State::Vp8(state) => state.push(payload, &mut self.frame)?,
            State::Av1(state) => state.push(payload, &mut self.frame)?,
            State::Opus if self.frame.is_empty() => self.frame.extend_from_slice(payload),
            State::Opus => return Err(DepacketizeError::Malformed),
        }
        if self.frame.len() > MAX_FRAME_LEN {
            return Err(DepacketizeError::TooLarge);
        }
        Ok(())
    }
}

/// Whether a frame begins with this payload, as far as its first bytes tell. After a gap, what follows is whole only from
/// such a payload on.
pub fn starts_frame(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::H264 => h264::starts_frame(payload),
        Codec::Vp8 => vp8::starts_frame(payload),
        Codec::Av1 => av1::starts_frame(payload),
        Codec::Opus => !payload.is_empty(),
    }
}

/// Puts all payloads of one frame together into `out`, which they replace.
///
/// # Errors
/// [`DepacketizeError`]; `out` is then empty.
pub fn depacketize<'a>(
    codec: Codec,
    payloads: impl IntoIterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) -> Result<(), DepacketizeError> {
    let mut depacketizer = Depacketizer::new(codec);
    for payload in payloads {
        if depacketizer.push(payload).is_err() {
            break;
        }
    }
    depacketizer.finish(out)
}
