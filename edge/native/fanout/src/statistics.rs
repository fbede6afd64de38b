//! One viewer's figures, in the layout in which they leave as an array.

use crate::viewer::Viewer;

/// One viewer's figures. Counters run from its start; NaN stands for not measured yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ViewerRow {
    /// Number of the session.
    pub session: u64,
    /// Latest round trip, milliseconds.
    pub rtt_ms: f32,
    /// Interarrival jitter, milliseconds.
    pub jitter_ms: f32,
    /// Share lost between the latest two reports.
    pub loss: f32,
    /// Receiver reports for the video.
    pub reports: u64,
    /// The receiver's own estimate (REMB), bits a second.
    pub estimate_bps: f64,
    /// What the line takes by the arrival of every packet, bits a second.
    pub measured_bps: f64,
    /// Bytes of media sent for the first time, headers included.
    pub sent_bytes: u64,
    /// Packets sent, repeats excluded.
    pub packets_sent: u64,
    /// Pictures not sent.
    pub frames_skipped: u64,
    /// PLI and FIR received.
    pub keyframe_requests: u64,
    /// Repeats refused.
    pub repeats_refused: u64,
    /// The layer it is sent.
    pub layer: u8,
    /// The layer it is to get.
    pub wanted_layer: u8,
    /// Packets asked for again.
    pub nacks: u64,
    /// Times its picture stood still until a keyframe.
    pub freezes: u64,
}

/// Bytes of a row in the array.
pub const ROW_BYTES: usize = 3 * 4 + 2 + 11 * 8;

impl ViewerRow {
    /// A viewer's figures now.
    pub fn of(viewer: &Viewer) -> Self {
        let feedback = &viewer.feedback;
        let nan = f32::NAN;
        Self {
            session: viewer.session(),
            rtt_ms: feedback.rtt.map_or(nan, |rtt| rtt.as_secs_f32() * 1_000.0),
            jitter_ms: feedback.jitter_ms.unwrap_or(nan),
            loss: feedback.loss.unwrap_or(nan),
            reports: feedback.reports,
            estimate_bps: feedback.remb_bps().map_or(f64::NAN, |bps| bps as f64),
            measured_bps: feedback.measured_bps().map_or(f64::NAN, |bps| bps as f64),
            sent_bytes: viewer.sent_bytes,
            packets_sent: viewer.packets_sent(),
            frames_skipped: viewer.frames_skipped,
            keyframe_requests: feedback.keyframe_requests,
            repeats_refused: feedback.budget.refused,
            layer: viewer.layer(),
            wanted_layer: viewer.wanted_layer(),
            nacks: feedback.nacks,
            freezes: viewer.freezes,
        }
    }

    /// Append the row: fields in the order above, little-endian, without padding.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.session.to_le_bytes());
        for value in [self.rtt_ms, self.jitter_ms, self.loss] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&self.reports.to_le_bytes());
        out.extend_from_slice(&self.estimate_bps.to_le_bytes());
        out.extend_from_slice(&self.measured_bps.to_le_bytes());
        let counters =
            [self.sent_bytes, self.packets_sent, self.frames_skipped, self.keyframe_requests, self.repeats_refused];
        for value in counters {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&[self.layer, self.wanted_layer]);
        out.extend_from_slice(&self.nacks.to_le_bytes());
        out.extend_from_slice(&self.freezes.to_le_bytes());
    }
}
