//! Which simulcast layer a viewer is to get; pure, time passed in.
//!
//! Down goes at once when the line no longer takes the layer, as every moment of it makes a queue or losses. Up goes
//! slowly and step by step, when the line has taken more for a while; a step up that had to be taken back makes the next
//! one wait, twice as long each time. Between what keeps a layer and what wins the next one lies a gap, so that a line
//! whose capacity is about a layer's rate is not sent to and fro. A layer that has fallen silent while another flows is
//! left for one that flows.

use std::time::{Duration, Instant};

/// A layer is kept while the line takes this share of it, in percent.
const KEEPS_PERCENT: u64 = 95;
/// A line that takes less than this share of the layer is given no time to recover.
const SEVERE_PERCENT: u64 = 60;
/// What is less for this long is less.
const NARROW_FOR: Duration = Duration::from_millis(200);
/// The line must take this share of a layer that is gone down to, and of one that is gone up to.
const FITS_PERCENT: u64 = 105;
const WINS_PERCENT: u64 = 115;
/// What is more for this long is more.
const WIDE_FOR: Duration = Duration::from_secs(1);
/// With more lost than this, nothing is tried.
const MOST_LOSS: f32 = 0.08;
/// A step up that is taken back within this time has failed; one that lasts so long makes up for failures before.
const FAILED_WITHIN: Duration = Duration::from_secs(10);
const FORGIVEN_AFTER: Duration = Duration::from_secs(30);
/// How long a failure keeps from trying again: at first, doubled by each further one, and at most.
const LEAST_BACK_OFF: Duration = Duration::from_secs(2);
const MOST_BACK_OFF: Duration = Duration::from_secs(60);
/// A layer without a picture for this long while another flows has stopped.
const STOPPED_AFTER: Duration = Duration::from_millis(500);
/// How long a layer that nobody watched may take to begin.
const BEGINS_WITHIN: Duration = Duration::from_secs(3);

/// A layer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerState {
    /// What it takes, bits a second.
    pub bps: u64,
    /// How long ago its newest picture came; [`Duration::MAX`] if none has.
    pub silence: Duration,
}

/// What a choice rests on.
#[derive(Debug, Clone, Copy)]
pub struct Conditions<'a> {
    /// The layers, lowest first; at least one.
    pub layers: &'a [LayerState],
    /// The layer that the viewer is sent now.
    pub shown: u8,
    /// What its line takes, bits a second.
    pub estimate_bps: u64,
    /// Share of packets lost lately.
    pub loss: f32,
}

impl Conditions<'_> {
    fn state(&self, layer: u8) -> LayerState {
        let last = self.layers.len().saturating_sub(1);
        self.layers.get(usize::from(layer).min(last)).copied().unwrap_or(LayerState { bps: 0, silence: Duration::MAX })
    }

    fn takes(&self, bits_per_s: u64, percent: u64, layer: u8) -> bool {
        bits_per_s.saturating_mul(100) >= self.state(layer).bps.saturating_mul(percent)
    }

    fn flows(&self, layer: u8) -> bool {
        self.state(layer).silence <= STOPPED_AFTER
    }

    /// The highest of the layers below `end` that is wanted and that the line takes.
    fn highest(&self, end: u8, bits_per_s: u64, percent: u64, wanted: impl Fn(u8) -> bool) -> Option<u8> {
        (0..end).rev().find(|layer| wanted(*layer) && self.takes(bits_per_s, percent, *layer))
    }

    fn count(&self) -> u8 {
        u8::try_from(self.layers.len()).unwrap_or(u8::MAX)
    }
}

/// A stretch of time in which the line took more, and the least that it took.
#[derive(Debug, Clone, Copy)]
struct Wide {
    since: Instant,
    least_bps: u64,
}

/// One viewer's choice of layer.
#[derive(Debug, Clone)]
pub struct LayerSelector {
    target: u8,
    chosen: Instant,
    narrow_since: Option<Instant>,
    wide: Option<Wide>,
    went_up: Option<Instant>,
    back_off: Duration,
    not_before: Instant,
}

impl LayerSelector {
    /// A newcomer whose line is thought to take `start_bps`.
    pub fn new(start_bps: u64, layers: &[LayerState], now: Instant) -> Self {
        let conditions = Conditions { layers, shown: 0, estimate_bps: start_bps, loss: 0.0 };
        Self {
            target: conditions.highest(conditions.count(), start_bps, 100, |_| true).unwrap_or(0),
            chosen: now,
            narrow_since: None,
            wide: None,
            went_up: None,
            back_off: Duration::ZERO,
            not_before: now,
        }
    }

    /// The layer that the viewer is to get.
    pub fn target(&self) -> u8 {
        self.target
    }

    /// Decide anew; call some times a second.
    pub fn update(&mut self, conditions: &Conditions<'_>, now: Instant) {
        self.target = self.target.min(conditions.count().saturating_sub(1));
        self.forgive(conditions, now);
        self.leave_silence(conditions, now);
        if let Some(lower) = self.narrower(conditions, now) {
            self.fail_if_early(now);
            self.choose(lower, now);
        } else if let Some(higher) = self.wider(conditions, now) {
            self.went_up = Some(now);
            self.choose(higher, now);
        }
    }

    fn choose(&mut self, layer: u8, now: Instant) {
        *self = Self { target: layer, chosen: now, narrow_since: None, wide: None, ..*self };
    }

    /// A step up that has lasted makes up for those that had to be taken back.
    fn forgive(&mut self, conditions: &Conditions<'_>, now: Instant) {
        let lasted = self.went_up.is_some_and(|at| now.saturating_duration_since(at) >= FORGIVEN_AFTER);
        if lasted && conditions.shown == self.target {
            self.went_up = None;
            self.back_off = Duration::ZERO;
        }
    }

    fn fail_if_early(&mut self, now: Instant) {
        if self.went_up.take().is_some_and(|at| now.saturating_duration_since(at) <= FAILED_WITHIN) {
            self.fail(now);
        }
    }

    fn fail(&mut self, now: Instant) {
        self.went_up = None;
        self.back_off = (2 * self.back_off).clamp(LEAST_BACK_OFF, MOST_BACK_OFF);
        self.not_before = now + self.back_off;
    }

    /// Leave a layer that has stopped for one that flows, and give up one that does not begin.
    fn leave_silence(&mut self, conditions: &Conditions<'_>, now: Instant) {
        let waited = now.saturating_duration_since(self.chosen);
        let is_shown = conditions.shown == self.target;
        let patience = if is_shown { STOPPED_AFTER } else { BEGINS_WITHIN };
        if conditions.flows(self.target) || waited <= patience {
            return;
        }
        let flows = |layer| conditions.flows(layer);
        let fitting = conditions.highest(conditions.count(), conditions.estimate_bps, FITS_PERCENT, flows);
        let Some(layer) = fitting.or_else(|| (0..conditions.count()).find(|layer| flows(*layer))) else { return };
        if !is_shown && self.target > layer {
            self.fail(now);
        }
        self.choose(layer, now);
    }

    /// A lower layer, if the line does not take the target any more.
    fn narrower(&mut self, conditions: &Conditions<'_>, now: Instant) -> Option<u8> {
        let estimate = conditions.estimate_bps;
        if self.target == 0 || conditions.takes(estimate, KEEPS_PERCENT, self.target) {
            self.narrow_since = None;
            return None;
        }
        let since = *self.narrow_since.get_or_insert(now);
        let is_severe = !conditions.takes(estimate, SEVERE_PERCENT, self.target);
        if !is_severe && now.saturating_duration_since(since) < NARROW_FOR {
            return None;
        }
        Some(conditions.highest(self.target, estimate, FITS_PERCENT, |_| true).unwrap_or(0))
    }

    /// A higher layer, if the line has taken it for a while.
    fn wider(&mut self, conditions: &Conditions<'_>, now: Instant) -> Option<u8> {
        let next = self.target + 1;
        let estimate = conditions.estimate_bps;
        let may_try = conditions.shown == self.target && conditions.loss <= MOST_LOSS && now >= self.not_before;
        if next >= conditions.count() || !may_try || !conditions.takes(estimate, WINS_PERCENT, next) {
            self.wide = None;
            return None;
        }
        let wide = self.wide.get_or_insert(Wide { since: now, least_bps: estimate });
        wide.least_bps = wide.least_bps.min(estimate);
        if now.saturating_duration_since(wide.since) < WIDE_FOR {
            return None;
        }
        let least_bps = wide.least_bps;
        conditions.highest(conditions.count(), least_bps, WINS_PERCENT, |layer| layer >= next)
    }
}

#[cfg(test)]
mod tests;
