//! The rate that follows from the queue: up gently while it is steady, down at once when it grows
//! (draft-ietf-rmcat-gcc-02 section 5.5).

use crate::trend::Usage;

/// What is kept of the acknowledged rate when the queue grows; less, so that it drains, where it is long already.
const DECREASE: f64 = 0.85;
const DRAINING_DECREASE: f64 = 0.5;
const LONG_QUEUE_US: f64 = 100_000.0;
const LONGEST_QUEUE_US: f64 = 500_000.0;

/// Growth a second while the link's capacity is unknown.
const FAST_GROWTH: f64 = 1.08;

/// Growth a second from far below the known capacity, after the queue has drained.
const RETURN_GROWTH: f64 = 1.5;

/// Growth a second near the known capacity, as a share of it.
const SLOW_GROWTH: f64 = 0.03;

/// The estimate stays below this multiple of what is acknowledged, so that a rate never tried is never believed.
const MAX_UNTRIED: f64 = 1.5;

/// Added to that bound, so that it does not hold down the smallest streams.
const UNTRIED_MARGIN_BPS: f64 = 10_000.0;

/// In one decrease while the application sends less than it may, no more than this share is lost.
const LIMITED_DECREASE: f64 = 0.7;

/// Unless the link is full, whatever more was thought to fit: less than this share of what is sent arrives, or a long
/// queue follows a burst of this multiple of what arrives, such as a keyframe.
const ARRIVING: f64 = 0.9;
const BURST: f64 = 1.5;

const MAX_GROWTH_STEP_US: u64 = 1_000_000;
const RESPONSE_US: u64 = 100_000;

/// What is known when the rate is changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    /// What the queue does.
    pub(crate) usage: Usage,
    /// Bits a second that arrived lately, and were truly sent.
    pub(crate) acknowledged_bps: f64,
    /// Bits a second that are sent.
    pub(crate) sent_bps: f64,
    /// The most that was sent lately, over as short a time as what is acknowledged.
    pub(crate) burst_bps: f64,
    /// Round-trip time without queueing, in microseconds.
    pub(crate) rtt_us: u64,
    /// Queueing delay in microseconds.
    pub(crate) queue_us: u64,
    /// Whether the application sends less than it may.
    pub(crate) is_application_limited: bool,
    /// Whether losses say to wait.
    pub(crate) is_held: bool,
}

/// The rate as the queue wants it.
#[derive(Clone, Debug)]
pub(crate) struct Aimd {
    estimate_bps: f64,
    capacity: Option<Capacity>,
    changed_us: u64,
    decreased_us: Option<u64>,
}

impl Aimd {
    /// A first rate.
    pub(crate) fn new(start_bps: f64, now_us: u64) -> Self {
        Self { estimate_bps: start_bps, capacity: None, changed_us: now_us, decreased_us: None }
    }

    /// The rate in bits a second.
    pub(crate) fn estimate_bps(&self) -> f64 {
        self.estimate_bps
    }

    /// When it last went down.
    pub(crate) fn decreased_us(&self) -> Option<u64> {
        self.decreased_us
    }

    /// Keeps the rate within these bounds.
    pub(crate) fn clamp(&mut self, min_bps: f64, max_bps: f64) {
        self.estimate_bps = self.estimate_bps.min(max_bps).max(min_bps);
    }

    /// Takes what a probe measured, if it is more.
    pub(crate) fn raise(&mut self, measured_bps: f64, now_us: u64) {
        if measured_bps > self.estimate_bps {
            self.estimate_bps = measured_bps;
            self.changed_us = now_us;
            self.capacity = None;
        }
    }

    /// Cuts the rate to a share of itself.
    pub(crate) fn scale(&mut self, share: f64, now_us: u64) {
        self.estimate_bps *= share;
        self.changed_us = now_us;
    }

    /// Follows the queue.
    pub(crate) fn update(&mut self, conditions: &Conditions, now_us: u64) {
        match conditions.usage {
            Usage::Growing => self.decrease(conditions, now_us),
            Usage::Steady if !conditions.is_held => self.increase(conditions, now_us),
            Usage::Steady | Usage::Settling => self.changed_us = now_us,
        }
    }

    fn increase(&mut self, conditions: &Conditions, now_us: u64) {
        let step_us = now_us.saturating_sub(self.changed_us).min(MAX_GROWTH_STEP_US);
        let step_s = step_us as f64 / 1e6;
        self.changed_us = now_us;
        let acknowledged_bps = conditions.acknowledged_bps;
        if self.capacity.as_ref().is_some_and(|capacity| acknowledged_bps > capacity.upper_bps()) {
            self.capacity = None;
        }
        let grown_bps = match &self.capacity {
            Some(capacity) if self.estimate_bps < DECREASE * capacity.mean_bps => {
                self.estimate_bps * RETURN_GROWTH.powf(step_s)
            }
            Some(capacity) => self.estimate_bps + SLOW_GROWTH * capacity.mean_bps * step_s,
            None => self.estimate_bps * FAST_GROWTH.powf(step_s),
        };
        let bound_bps = MAX_UNTRIED * acknowledged_bps + UNTRIED_MARGIN_BPS;
        self.estimate_bps = grown_bps.min(bound_bps).max(self.estimate_bps);
    }

    /// Goes below what arrives, once in a round trip.
    fn decrease(&mut self, conditions: &Conditions, now_us: u64) {
        self.changed_us = now_us;
        let interval_us = conditions.rtt_us.saturating_add(RESPONSE_US);
        if self.decreased_us.is_some_and(|at| now_us.saturating_sub(at) < interval_us) {
            return;
        }
        self.decreased_us = Some(now_us);
        let target_bps = kept_share(conditions.queue_us) * conditions.acknowledged_bps;
        if conditions.is_application_limited && !is_full(conditions) {
            self.estimate_bps = self.estimate_bps.min(target_bps.max(LIMITED_DECREASE * self.estimate_bps));
            return;
        }
        self.estimate_bps = self.estimate_bps.min(target_bps);
        Capacity::observe(&mut self.capacity, conditions.acknowledged_bps);
    }
}

/// Whether the queue comes of what was sent, not of the path's moods.
fn is_full(conditions: &Conditions) -> bool {
    let follows_a_burst =
        conditions.queue_us as f64 > LONG_QUEUE_US && conditions.acknowledged_bps * BURST < conditions.burst_bps;
    follows_a_burst || conditions.acknowledged_bps < ARRIVING * conditions.sent_bps
}

/// What is kept of the acknowledged rate with this queue.
fn kept_share(queue_us: u64) -> f64 {
    let excess = (queue_us as f64 - LONG_QUEUE_US) / (LONGEST_QUEUE_US - LONG_QUEUE_US);
    DECREASE - (DECREASE - DRAINING_DECREASE) * excess.clamp(0.0, 1.0)
}

/// What the link took when it was full.
#[derive(Clone, Debug)]
struct Capacity {
    mean_bps: f64,
    deviation: f64,
}

impl Capacity {
    const WEIGHT: f64 = 0.1;
    const MIN_DEVIATION: f64 = 0.02;
    const MAX_DEVIATION: f64 = 0.1;

    /// Takes a rate at which the queue grew; one far from the known capacity replaces it.
    fn observe(known: &mut Option<Self>, rate_bps: f64) {
        match known {
            Some(capacity) if (capacity.lower_bps()..=capacity.upper_bps()).contains(&rate_bps) => {
                let error = (rate_bps - capacity.mean_bps).abs() / capacity.mean_bps.max(1.0);
                capacity.mean_bps += Self::WEIGHT * (rate_bps - capacity.mean_bps);
                capacity.deviation += Self::WEIGHT * (error - capacity.deviation);
                capacity.deviation = capacity.deviation.clamp(Self::MIN_DEVIATION, Self::MAX_DEVIATION);
            }
            _ => *known = Some(Self { mean_bps: rate_bps, deviation: Self::MAX_DEVIATION }),
        }
    }

    fn upper_bps(&self) -> f64 {
        self.mean_bps * (1.0 + 3.0 * self.deviation)
    }

    fn lower_bps(&self) -> f64 {
        self.mean_bps * (1.0 - 3.0 * self.deviation)
    }
}
