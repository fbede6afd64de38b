//! SDP offers in, answers out: what WebRTC clients send (RFC 8866, 8829) as far as the edge needs it.
//!
//! The parser ([`Offer::parse`]) takes what it knows and leaves the rest; everything it takes is bounded and checked.
//! Sections must be bundled on one transport (RFC 8843). The answers ([`answer()`] to viewers, [`answer_publisher`] to
//! publishers) are those of an ICE-lite peer that waits for DTLS. A [`Fragment`] names candidates, or
//! restarts ICE.

mod answer;
mod direction;
mod fragment;
mod offer;
mod publish;

pub use answer::{Agreement, AudioAgreement, Local, Ssrcs, VideoAgreement, Wanted, answer};
pub use direction::Direction;
pub use fragment::Fragment;
pub use offer::{Kind, MAX_SECTIONS, Offer, Payload, Section, Setup};
pub use publish::{MAX_LAYERS, PublishAgreement, answer_publisher};

/// Header extensions the engine writes (RFC 8285).
pub const TRANSPORT_CC_URI: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// When a packet was sent, for receivers that estimate the bandwidth themselves.
pub const SEND_TIME_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
/// How long a receiver may hold pictures back.
pub const PLAYOUT_DELAY_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
/// When a picture was captured.
pub const CAPTURE_TIME_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";

/// Which section of the bundle a packet belongs to (RFC 8843).
pub const MID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
/// Which of several encodings a packet belongs to (RFC 8852).
pub const RID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
/// The same, of a packet that is sent again.
pub const REPAIRED_RID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";

/// Why an offer cannot be used; the text is for its author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdpError(pub String);

impl std::fmt::Display for SdpError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for SdpError {}

fn refuse<T>(why: impl Into<String>) -> Result<T, SdpError> {
    Err(SdpError(why.into()))
}
