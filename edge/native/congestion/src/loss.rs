//! The bound that losses set (draft-ietf-rmcat-gcc-02 section 6, with a memory for losses that are always there).
//!
//! More than 10 % lost lowers the bound. Less than that, but well above what this path always loses, holds the
//! rate. A wireless path with 3 % loss at any rate is not held.

use crate::rate::PeakRate;

/// A rate above this loss goes down.
const HIGH: f64 = 0.10;

/// Losses below this say nothing.
const LOW: f64 = 0.02;

/// Losses hold the rate from this multiple of the usual loss on.
const UNUSUAL: f64 = 2.0;

/// Packets that make one sample; of a small stream, those of this time, but not fewer than so many.
const SAMPLE_PACKETS: u32 = 50;
const SAMPLE_US: u64 = 1_000_000;
const LEAST_SAMPLE_PACKETS: u32 = 10;

const SMOOTHING: f64 = 0.3;
const USUAL_US: f64 = 10_000_000.0;
/// Growth of the bound a second while losses are moderate, and while there are none.
const GROWTH: f64 = 1.15;
const FREE_GROWTH: f64 = 1.5;

/// The bound does not fall below this share of what has arrived lately: packets of a burst that overran the queue tell
/// little about the rate after it, and where little is sent after it, little can arrive.
const ARRIVING_SHARE: f64 = 0.7;

/// Time in which what has arrived is forgotten by two thirds.
const ARRIVING_US: f64 = 1_000_000.0;

const MIN_INTERVAL_US: u64 = 300_000;
const MAX_STEP_US: u64 = 1_000_000;

/// The rates that a sample of losses is held against, in bits a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// The estimate that the delay allows.
    pub(crate) estimate_bps: f64,
    /// What arrives.
    pub(crate) acknowledged_bps: f64,
}

/// The bound from losses.
#[derive(Clone, Debug)]
pub(crate) struct LossBound {
    received: u32,
    lost: u32,
    smoothed: Option<f64>,
    latest: f64,
    usual: f64,
    sampled_us: u64,
    lowered_us: Option<u64>,
    bound_bps: f64,
    arriving: PeakRate,
}

impl LossBound {
    /// No losses and no bound yet.
    pub(crate) fn new(now_us: u64) -> Self {
        Self {
            received: 0,
            lost: 0,
            smoothed: None,
            latest: 0.0,
            usual: 0.0,
            sampled_us: now_us,
            lowered_us: None,
            bound_bps: f64::INFINITY,
            arriving: PeakRate::new(ARRIVING_US),
        }
    }

    /// Smoothed share of packets lost, 0 to 1.
    pub(crate) fn share(&self) -> f64 {
        self.smoothed.unwrap_or(0.0)
    }

    /// The highest rate that losses allow, in bits a second; infinite where they say nothing.
    pub(crate) fn bound_bps(&self) -> f64 {
        self.bound_bps
    }

    /// Whether the rate should not grow.
    pub(crate) fn is_holding(&self) -> bool {
        self.share().min(self.latest) > (UNUSUAL * self.usual).max(LOW)
    }

    /// A probe has got through at this rate.
    pub(crate) fn raise(&mut self, measured_bps: f64) {
        self.bound_bps = self.bound_bps.max(measured_bps);
    }

    /// Counts one packet.
    pub(crate) fn packet(&mut self, is_received: bool) {
        let count = if is_received { &mut self.received } else { &mut self.lost };
        *count = count.saturating_add(1);
    }

    /// Makes a sample of the packets counted, once they are enough.
    pub(crate) fn evaluate(&mut self, rates: &Rates, rtt_us: u64, now_us: u64) {
        self.arriving.observe(rates.acknowledged_bps, now_us);
        let packets = self.received.saturating_add(self.lost);
        let is_due = now_us.saturating_sub(self.sampled_us) >= SAMPLE_US && packets >= LEAST_SAMPLE_PACKETS;
        if packets < SAMPLE_PACKETS && !is_due {
            return;
        }
        let share = f64::from(self.lost) / f64::from(packets);
        (self.received, self.lost) = (0, 0);
        self.sample(share, rates, rtt_us, now_us);
    }

    /// Takes one sample of the share lost, 0 to 1.
    pub(crate) fn sample(&mut self, share: f64, rates: &Rates, rtt_us: u64, now_us: u64) {
        let elapsed_us = now_us.saturating_sub(self.sampled_us).min(MAX_STEP_US);
        self.sampled_us = now_us;
        self.latest = share;
        match self.smoothed {
            Some(smoothed) => {
                self.smoothed = Some(smoothed + SMOOTHING * (share - smoothed));
                self.usual += (share - self.usual) * elapsed_us as f64 / USUAL_US;
            }
            None => {
                self.smoothed = Some(share);
                self.usual = share.min(HIGH);
            }
        }
        if self.share() > HIGH && share > HIGH {
            self.lower(rates, rtt_us, now_us);
        } else if self.share() <= HIGH {
            let growth = if self.share() < LOW { FREE_GROWTH } else { GROWTH };
            self.bound_bps *= growth.powf(elapsed_us as f64 / 1e6);
            if self.bound_bps > 2.0 * rates.estimate_bps {
                self.bound_bps = f64::INFINITY;
            }
        }
    }

    fn lower(&mut self, rates: &Rates, rtt_us: u64, now_us: u64) {
        let interval_us = rtt_us.saturating_add(MIN_INTERVAL_US);
        if self.lowered_us.is_some_and(|at| now_us.saturating_sub(at) < interval_us) {
            return;
        }
        self.lowered_us = Some(now_us);
        let lowered_bps = self.bound_bps.min(rates.estimate_bps) * (1.0 - 0.5 * self.share());
        let least_bps = ARRIVING_SHARE * self.arriving.observe(rates.acknowledged_bps, now_us);
        self.bound_bps = lowered_bps.max(least_bps).min(self.bound_bps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: u64 = 1_000_000;
    const RATES: Rates = Rates { estimate_bps: 1e6, acknowledged_bps: 0.3e6 };

    #[test]
    fn heavy_losses_lower_the_bound_and_it_recovers() {
        let mut losses = LossBound::new(0);
        for second in 1..5 {
            losses.sample(0.3, &RATES, 50_000, second * SECOND_US);
        }
        assert!(losses.bound_bps() < 0.6e6);
        for second in 5..40 {
            losses.sample(0.0, &RATES, 50_000, second * SECOND_US);
        }
        assert_eq!(losses.bound_bps(), f64::INFINITY);
    }

    #[test]
    fn usual_losses_do_not_hold_but_new_ones_do() {
        let mut losses = LossBound::new(0);
        losses.sample(0.03, &RATES, 50_000, SECOND_US);
        assert!(!losses.is_holding());
        let mut losses = LossBound::new(0);
        losses.sample(0.0, &RATES, 50_000, SECOND_US);
        for sample in 1..8 {
            losses.sample(0.05, &RATES, 50_000, SECOND_US + sample * 100_000);
        }
        assert!(losses.is_holding());
        assert_eq!(losses.bound_bps(), f64::INFINITY);
    }
}
