//! How fast one viewer is sent a picture: at once if it fits what the line takes, else in pieces.
//!
//! A keyframe is ten times the size of the pictures around it. Sent in one burst it fills the queue before a narrow
//! line and some of it is lost; sent at a multiple of the line's rate it arrives as early without the loss.

use std::time::{Duration, Instant};

/// Pieces of a large picture leave at this multiple of the estimate, in tenths.
const FACTOR_TENTHS: u64 = 25;
/// What may leave at once: this much time at the estimate.
const BURST: Duration = Duration::from_millis(100);
const LEAST_BURST_BYTES: i64 = 15_000;

/// One viewer's credit, in bytes.
#[derive(Debug)]
pub struct Pacer {
    credit: i64,
    bytes_per_s: u64,
    refilled: Instant,
}

impl Pacer {
    /// Starts with a full burst at `bits_per_s`.
    pub fn new(bits_per_s: u64, now: Instant) -> Self {
        let mut pacer = Self { credit: 0, bytes_per_s: 0, refilled: now };
        pacer.set_rate(bits_per_s);
        pacer.credit = pacer.burst();
        pacer
    }

    /// What the line takes, or what the stream needs if that is more: a viewer is never held below its stream.
    pub fn set_rate(&mut self, bits_per_s: u64) {
        self.bytes_per_s = bits_per_s.clamp(100_000, 1_000_000_000) / 8;
    }

    fn burst(&self) -> i64 {
        let bytes = self.bytes_per_s * BURST.as_millis() as u64 / 1_000;
        LEAST_BURST_BYTES.max(i64::try_from(bytes).unwrap_or(i64::MAX))
    }

    /// Whether a packet may leave now.
    pub fn may_send(&mut self, now: Instant) -> bool {
        let elapsed_us = now.saturating_duration_since(self.refilled).as_micros() as u64;
        let earned = (self.bytes_per_s * FACTOR_TENTHS / 10).saturating_mul(elapsed_us.min(1_000_000)) / 1_000_000;
        if earned > 0 {
            self.credit = self.burst().min(self.credit + i64::try_from(earned).unwrap_or(i64::MAX));
            self.refilled = now;
        }
        self.credit > 0
    }

    /// Packets have left.
    pub fn spend(&mut self, bytes: u32) {
        self.credit -= i64::from(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_fits_the_estimate_leaves_at_once_and_a_keyframe_in_pieces() {
        let start = Instant::now();
        let mut pacer = Pacer::new(2_400_000, start);
        for picture in 0..90_u32 {
            let now = start + Duration::from_micros(33_333) * picture;
            assert!(pacer.may_send(now));
            pacer.spend(10_000);
        }
        let now = start + Duration::from_secs(3);
        let mut sent = 0;
        while pacer.may_send(now) {
            pacer.spend(1_200);
            sent += 1_200;
        }
        assert!((30_000..32_000).contains(&sent), "{sent}");
        assert!(!pacer.may_send(now));
        assert!(pacer.may_send(now + Duration::from_millis(10)));
    }
}
