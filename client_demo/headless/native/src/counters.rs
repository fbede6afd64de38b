//! What viewers count, and the distributions of what they time.

use serde::Serialize;

use crate::histogram::Histogram;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one viewer, or of many.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Adds another one's.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// RTP packets received, with repeats.
    packets,
    /// Octets of those, as UDP payload.
    octets,
    /// Packets never received though asked for: gaps never filled.
    lost_packets,
    /// Packets asked for again and then received.
    recovered_packets,
    /// Packets that came late without having been asked for.
    reordered_packets,
    /// Packets seen before.
    duplicate_packets,
    /// Sequence numbers asked for, with repeats of the question.
    nacked_packets,
    /// Packets sent again in answer (RFC 4588).
    repeat_packets,
    /// Keyframes asked for.
    keyframe_requests,
    /// Pictures seen by their markers.
    pictures,
    /// Gaps between pictures longer than 200 ms and three picture times.
    freezes,
    /// Microseconds of those.
    frozen_us,
    /// Packets decrypted.
    verified_packets,
    /// Packets whose authentication failed: corrupted, forged, or encrypted wrongly.
    authentication_failures,
    /// Datagrams that are neither STUN, DTLS, RTP nor RTCP of ours.
    foreign_packets,
    /// Pictures put together that a decoder can show.
    decodable_pictures,
    /// Pictures put together that build on something lost.
    undecodable_pictures,
    /// Pictures with packets lost or malformed.
    broken_pictures,
    /// RTCP packets received.
    reports_received,
    /// RTCP datagrams sent.
    feedback_sent,
    /// Datagrams dropped by the simulated bad network.
    impaired_packets,
    /// Receptions (one to 64 packets each) dropped as this process did not read its socket in time.
    receiver_drops,
}

/// Distributions over all viewers, in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    /// From the start of the POST to the end of the DTLS handshake.
    pub join: Histogram,
    /// From there to the first whole picture.
    pub first_picture: Histogram,
    /// From capture (abs-capture-time) to arrival at the viewer's socket.
    pub capture_to_arrival: Histogram,
    /// Between two pictures of a viewer.
    pub picture_interval: Histogram,
}

impl Measures {
    /// Adds another one's.
    pub fn merge(&mut self, other: &Self) {
        self.join.merge(&other.join);
        self.first_picture.merge(&other.first_picture);
        self.capture_to_arrival.merge(&other.capture_to_arrival);
        self.picture_interval.merge(&other.picture_interval);
    }
}
