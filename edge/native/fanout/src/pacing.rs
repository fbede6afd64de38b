//! How fast one viewer is sent a picture: at once if it fits what the line takes, else in pieces.
//!
//! A keyframe is ten times the size of the pictures around it. Sent in one burst it fills the queue before a narrow
//! line and some of it is lost; sent at a multiple of the line's rate it arrives as early without the loss.
//!
//! Where a long queue waits already, a multiple of the rate would only be lost before it: nothing leaves for as long as
//! the queue is, and then no more than the line takes.

use std::time::{Duration, Instant};

/// Pieces of a large picture leave at this multiple of the estimate, in tenths.
const FACTOR_TENTHS: u64 = 25;
/// What may leave at once: this much time at the estimate.
const BURST: Duration = Duration::from_millis(100);
const LEAST_BURST_BYTES: i64 = 15_000;
/// The same two while a queue drains.
const DRAINING_FACTOR_TENTHS: u64 = 10;
const DRAINING_BURST_BYTES: i64 = 2_400;
const DRAINING_REPEATS_BYTES: i64 = 6_000;
/// A queue longer than this is to drain.
const LONG_QUEUE: Duration = Duration::from_millis(150);

/// One viewer's credit, in bytes.
#[derive(Debug)]
pub struct Pacer {
    credit: i64,
    bytes_per_s: u64,
    refilled: Instant,
    is_draining: bool,
}

impl Pacer {
    /// Starts with a full burst at `bits_per_s`.
    pub fn new(bits_per_s: u64, now: Instant) -> Self {
        let mut pacer = Self { credit: 0, bytes_per_s: 0, refilled: now, is_draining: false };
        pacer.set_rate(bits_per_s);
        pacer.credit = pacer.burst();
        pacer
    }

    /// What the line takes, or what the stream needs if that is more: a viewer is never held below its stream.
    pub fn set_rate(&mut self, bits_per_s: u64) {
        self.bytes_per_s = bits_per_s.clamp(100_000, 1_000_000_000) / 8;
    }

    /// What is sent now waits for so long before the line.
    pub fn set_queue(&mut self, queue: Duration) {
        let was_draining = std::mem::replace(&mut self.is_draining, queue > LONG_QUEUE);
        if self.is_draining {
            let waiting = self.bytes_per_s.saturating_mul(queue.as_millis() as u64) / 1_000;
            let debt = -i64::try_from(waiting).unwrap_or(i64::MAX);
            self.credit = if was_draining { self.credit.max(debt) } else { self.credit.min(debt) };
        }
    }

    /// Whether it waits for a long queue before the line.
    pub fn is_draining(&self) -> bool {
        self.is_draining
    }

    fn burst(&self) -> i64 {
        if self.is_draining {
            return DRAINING_BURST_BYTES;
        }
        let bytes = self.bytes_per_s * BURST.as_millis() as u64 / 1_000;
        LEAST_BURST_BYTES.max(i64::try_from(bytes).unwrap_or(i64::MAX))
    }

    /// Whether a packet may leave now.
    pub fn may_send(&mut self, now: Instant) -> bool {
        let elapsed_us = now.saturating_duration_since(self.refilled).as_micros() as u64;
        let tenths = if self.is_draining { DRAINING_FACTOR_TENTHS } else { FACTOR_TENTHS };
        let earned = (self.bytes_per_s * tenths / 10).saturating_mul(elapsed_us.min(1_000_000)) / 1_000_000;
        if earned > 0 {
            self.credit = self.burst().min(self.credit + i64::try_from(earned).unwrap_or(i64::MAX));
            self.refilled = now;
        }
        self.credit > 0
    }

    /// Whether a packet may be sent again now: before a queue that drains a few may overtake the pictures that wait.
    pub fn may_repeat(&mut self, now: Instant) -> bool {
        self.may_send(now) || !self.is_draining || self.credit > -DRAINING_REPEATS_BYTES
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

    #[test]
    fn a_long_queue_is_waited_for_and_then_the_line_gets_what_it_takes() {
        let start = Instant::now();
        let mut pacer = Pacer::new(800_000, start);
        pacer.set_queue(Duration::from_millis(200));
        let mut sent = Vec::new();
        for at_ms in 0..1_200 {
            let now = start + Duration::from_millis(at_ms);
            pacer.set_queue(Duration::from_millis(200));
            while pacer.may_send(now) {
                pacer.spend(1_200);
                sent.push(at_ms);
            }
        }
        assert!(sent.first() >= Some(&200), "{:?}", sent.first());
        let bits_per_s = sent.len() * 1_200 * 8;
        assert!((780_000..820_000).contains(&bits_per_s), "{bits_per_s} in the second after it");
        pacer.set_queue(Duration::from_millis(20));
        let now = start + Duration::from_millis(1_300);
        let at_once = (0..100)
            .take_while(|_| {
                pacer.may_send(now) && {
                    pacer.spend(1_200);
                    true
                }
            })
            .count();
        assert!(at_once > 12, "{at_once} packets leave at once where nothing waits");
    }
}
