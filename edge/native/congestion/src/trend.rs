//! Whether the queue before the bottleneck grows: a trend line through the delays of packet groups, held against
//! a threshold that adapts to the path's jitter (draft-ietf-rmcat-gcc-02 section 5, with the trend line that came
//! after it).
//!
//! A viewer's frames leave in bursts, not paced. The first packet of a burst meets the queue that earlier ones left;
//! the last one also waits for its own burst. So groups are dated by their first packet: the delay is then that of
//! the standing queue, and a keyframe alone does not look like congestion.

/// Packets sent within this time are one group.
const GROUP_US: u64 = 5_000;

/// A larger step of either clock starts the line anew.
const MAX_STEP_MS: f64 = 10_000.0;

const WINDOW: usize = 20;
/// Time constant of the smoothing of delays.
const SMOOTHING_MS: f64 = 100.0;

const GAIN: f64 = 4.0;
const MAX_WEIGHT: u32 = 60;
const START_THRESHOLD: f64 = 12.5;
const MIN_THRESHOLD: f64 = 6.0;
const MAX_THRESHOLD: f64 = 600.0;
const THRESHOLD_RISE: f64 = 0.0087;
const THRESHOLD_FALL: f64 = 0.039;
const OUTLIER_MARGIN: f64 = 15.0;
const MAX_ADAPTATION_MS: f64 = 100.0;
const OVERUSE_MS: f64 = 10.0;

/// What the queue does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Usage {
    /// It is steady.
    #[default]
    Steady,
    /// It grows.
    Growing,
    /// It shrinks, or has grown lately.
    Settling,
}

/// When a group was sent and when it arrived, each by its own clock.
#[derive(Clone, Copy, Debug)]
struct Group {
    sent_us: u64,
    arrival_us: i64,
}

/// The delay detector.
#[derive(Clone, Debug)]
pub(crate) struct DelayTrend {
    last_group: Option<Group>,
    line: Line,
    threshold: f64,
    previous_trend: f64,
    over_ms: Option<f64>,
    groups_over: u32,
    usage: Usage,
}

impl DelayTrend {
    /// No packets yet.
    pub(crate) fn new() -> Self {
        Self {
            last_group: None,
            line: Line::default(),
            threshold: START_THRESHOLD,
            previous_trend: 0.0,
            over_ms: None,
            groups_over: 0,
            usage: Usage::Steady,
        }
    }

    /// What the queue did since this was last asked.
    pub(crate) fn take_usage(&mut self) -> Usage {
        let usage = self.usage;
        if usage == Usage::Growing {
            self.usage = Usage::Settling;
        }
        usage
    }

    /// Takes a packet that arrived; packets come in the order of sending.
    pub(crate) fn packet(&mut self, sent_us: u64, arrival_us: i64) {
        let group = Group { sent_us, arrival_us };
        let Some(last) = self.last_group else {
            self.last_group = Some(group);
            return;
        };
        if sent_us.saturating_sub(last.sent_us) <= GROUP_US {
            return;
        }
        self.last_group = Some(group);
        let sent_ms = (sent_us - last.sent_us) as f64 / 1e3;
        let arrival_ms = (arrival_us as f64 - last.arrival_us as f64) / 1e3;
        if sent_ms > MAX_STEP_MS || arrival_ms.abs() > MAX_STEP_MS {
            self.restart();
        } else if arrival_ms >= 0.0 {
            self.line.push(arrival_ms, arrival_ms - sent_ms);
            self.detect(sent_ms, arrival_ms);
        }
    }

    /// Forgets the line but not how much jitter the path has.
    fn restart(&mut self) {
        self.line = Line::default();
        self.previous_trend = 0.0;
        self.over_ms = None;
        self.groups_over = 0;
        self.usage = Usage::Steady;
    }

    fn detect(&mut self, sent_ms: f64, arrival_ms: f64) {
        let weight = f64::from(self.line.groups.min(MAX_WEIGHT)) * GAIN;
        let trend = self.line.slope() * weight;
        if trend > self.threshold {
            self.detect_growth(trend, sent_ms);
        } else {
            self.over_ms = None;
            self.groups_over = 0;
            let usage = if trend < -self.threshold { Usage::Settling } else { Usage::Steady };
            self.set_usage(usage);
        }
        self.previous_trend = trend;
        self.adapt(trend, arrival_ms);
    }

    /// Growth counts once it has lasted, and while it does not slow down.
    fn detect_growth(&mut self, trend: f64, sent_ms: f64) {
        let over_ms = self.over_ms.map_or(sent_ms / 2.0, |over_ms| over_ms + sent_ms);
        self.over_ms = Some(over_ms);
        self.groups_over += 1;
        if over_ms > OVERUSE_MS && self.groups_over > 1 && trend >= self.previous_trend {
            self.over_ms = Some(0.0);
            self.groups_over = 0;
            self.usage = Usage::Growing;
        } else {
            self.set_usage(Usage::Settling);
        }
    }

    /// Growth is remembered until it is taken.
    fn set_usage(&mut self, usage: Usage) {
        if self.usage != Usage::Growing {
            self.usage = usage;
        }
    }

    /// Moves the threshold towards the trend's size, fast down and slowly up, so that jitter does not count as
    /// growth and a competing flow does not starve us.
    fn adapt(&mut self, trend: f64, arrival_ms: f64) {
        let excess = trend.abs() - self.threshold;
        if excess > OUTLIER_MARGIN {
            return;
        }
        let pace = if excess < 0.0 { THRESHOLD_FALL } else { THRESHOLD_RISE };
        self.threshold += pace * excess * arrival_ms.min(MAX_ADAPTATION_MS);
        self.threshold = self.threshold.clamp(MIN_THRESHOLD, MAX_THRESHOLD);
    }
}

/// The smoothed delays of the newest groups over their arrival times, both in milliseconds.
#[derive(Clone, Debug, Default)]
struct Line {
    points: [(f64, f64); WINDOW],
    groups: u32,
    arrival_ms: f64,
    delay_ms: f64,
    smoothed_ms: f64,
}

impl Line {
    fn push(&mut self, arrival_step_ms: f64, delay_step_ms: f64) {
        self.arrival_ms += arrival_step_ms;
        self.delay_ms += delay_step_ms;
        let kept = (-arrival_step_ms / SMOOTHING_MS).exp();
        self.smoothed_ms = kept * self.smoothed_ms + (1.0 - kept) * self.delay_ms;
        self.points[self.groups as usize % WINDOW] = (self.arrival_ms, self.smoothed_ms);
        self.groups = self.groups.wrapping_add(1).max(self.groups);
    }

    /// Least squares; 0 before the window is full, and where all groups arrived at once.
    fn slope(&self) -> f64 {
        if (self.groups as usize) < WINDOW {
            return 0.0;
        }
        let count = WINDOW as f64;
        let (sum_x, sum_y) = self.points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        let (mean_x, mean_y) = (sum_x / count, sum_y / count);
        let (covariance, variance) = self.points.iter().fold((0.0, 0.0), |(cov, var), (x, y)| {
            (cov + (x - mean_x) * (y - mean_y), var + (x - mean_x) * (x - mean_x))
        });
        if variance > 0.0 { covariance / variance } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds groups sent every 20 ms whose delay changes by `step_us` each.
    fn usage_after(trend: &mut DelayTrend, from: u64, groups: u64, step_us: i64) -> Usage {
        let mut usage = Usage::Steady;
        for group in 0..groups {
            let sent_us = (from + group) * 20_000;
            trend.packet(sent_us, sent_us as i64 + step_us * group as i64);
            let taken = trend.take_usage();
            if usage != Usage::Growing && taken != Usage::Steady {
                usage = taken;
            }
        }
        usage
    }

    #[test]
    fn growing_and_shrinking_queues_are_told_from_steady_ones() {
        assert_eq!(usage_after(&mut DelayTrend::new(), 0, 200, 0), Usage::Steady);
        assert_eq!(usage_after(&mut DelayTrend::new(), 0, 60, 4_000), Usage::Growing);
        assert_eq!(usage_after(&mut DelayTrend::new(), 0, 60, -4_000), Usage::Settling);
    }

    #[test]
    fn later_packets_of_a_burst_do_not_count() {
        let mut trend = DelayTrend::new();
        for frame in 0..200_u64 {
            for packet in 0..frame % 40 {
                trend.packet(frame * 20_000, (frame * 20_000 + packet * 400) as i64);
                assert_eq!(trend.take_usage(), Usage::Steady);
            }
        }
    }

    #[test]
    fn impossible_times_start_anew() {
        let mut trend = DelayTrend::new();
        for (sent_us, arrival_us) in [(0, i64::MAX), (10_000, i64::MIN), (u64::MAX, 0), (0, 5)] {
            trend.packet(sent_us, arrival_us);
            assert_eq!(trend.take_usage(), Usage::Steady);
        }
    }
}
