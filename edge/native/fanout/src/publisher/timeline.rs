//! When pictures were captured: RTP times of several layers on one timeline.
//!
//! Each layer's RTP clock starts anywhere. Sender reports (RFC 3550, section 6.4.1) tie it to the publisher's wall clock,
//! which is then the same for all layers. Before the first report, and where that clock is plainly wrong, arrival tells:
//! the packet that was delayed least.

/// A capture time further than this from arrival is not believed.
const PLAUSIBLE_US: i64 = 5_000_000;
/// Where a change of source would make time jump, it runs this much faster or slower: a twentieth.
const SLEW_DIVISOR: i64 = 20;
/// How much the two clocks may drift apart: 500 parts in a million.
const DRIFT_DIVISOR: i64 = 2_000;
/// Sender reports that differ by less from those before are averaged: their clocks count whole milliseconds.
const REPORT_JITTER_US: i64 = 20_000;
/// The weight of a new report among them.
const REPORT_DIVISOR: i64 = 8;
/// A picture that comes later than this by its RTP time was not late: its clock has stood still.
const STOOD_STILL_US: i64 = 2_000_000;

/// One layer's clock.
#[derive(Debug, Clone, Copy, Default)]
struct LayerClock {
    /// Unix microseconds and RTP time of the latest sender report.
    report: Option<(i64, u32)>,
    /// Least arrival less RTP time seen, microseconds, and when it was last looked at.
    least: Option<(i64, i64)>,
    latest_us: Option<i64>,
}

impl LayerClock {
    fn by_arrival(&mut self, timestamp: u64, arrival_us: i64) -> i64 {
        let rtp_us = micros(timestamp);
        let offset = arrival_us - rtp_us;
        let least = match self.least {
            Some((least, at)) => {
                let drifted = least + (arrival_us - at).max(0) / DRIFT_DIVISOR;
                if offset - drifted > STOOD_STILL_US { offset } else { drifted.min(offset) }
            }
            None => offset,
        };
        self.least = Some((least, arrival_us));
        rtp_us + least
    }

    fn take_report(&mut self, unix_us: i64, timestamp: u32) {
        let expected = self.by_report(timestamp);
        let close = expected.filter(|expected| (unix_us - expected).abs() < REPORT_JITTER_US);
        let smoothed = close.map_or(unix_us, |expected| expected + (unix_us - expected) / REPORT_DIVISOR);
        self.report = Some((smoothed, timestamp));
    }

    fn by_report(&self, timestamp: u32) -> Option<i64> {
        let (unix_us, reported) = self.report?;
        let ticks = timestamp.wrapping_sub(reported) as i32;
        Some(unix_us + i64::from(ticks) * 100 / 9)
    }

    fn rising(&mut self, captured_us: i64) -> i64 {
        let risen = self.latest_us.map_or(captured_us, |latest| captured_us.max(latest + 1));
        self.latest_us = Some(risen);
        risen
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Timeline {
    layers: Vec<LayerClock>,
    /// From the publisher's wall clock to ours, microseconds, and when that was last moved.
    shift: Option<(i64, i64)>,
}

impl Timeline {
    /// For this many layers.
    pub(super) fn new(layers: usize) -> Self {
        Self { layers: vec![LayerClock::default(); layers], shift: None }
    }

    /// The layer's RTP clock has started anew.
    pub(super) fn restart(&mut self, layer: usize) {
        if let Some(clock) = self.layers.get_mut(layer) {
            *clock = LayerClock { latest_us: clock.latest_us, ..LayerClock::default() };
        }
    }

    /// A layer's sender report: when it was sent, and the same moment by its RTP clock.
    pub(super) fn reported(&mut self, layer: usize, unix_us: i64, timestamp: u32) {
        if let Some(clock) = self.layers.get_mut(layer) {
            clock.take_report(unix_us, timestamp);
        }
    }

    /// When a layer's picture of this RTP time (90 kHz, unwrapped) was captured, in Unix microseconds. Rises with each
    /// picture of the layer.
    pub(super) fn capture_us(&mut self, layer: usize, timestamp: u64, arrival_us: i64) -> i64 {
        let Some(clock) = self.layers.get_mut(layer) else { return arrival_us };
        let by_arrival = clock.by_arrival(timestamp, arrival_us);
        let captured = match clock.by_report(timestamp as u32) {
            Some(reported) => reported + Self::shifted(&mut self.shift, reported, by_arrival, arrival_us),
            None => by_arrival,
        };
        clock.rising(captured)
    }

    /// Moves the shift a little towards where it should be: nowhere, if the publisher's clock is right.
    fn shifted(shift: &mut Option<(i64, i64)>, reported: i64, by_arrival: i64, arrival_us: i64) -> i64 {
        let is_plausible = (reported - arrival_us).abs() <= PLAUSIBLE_US;
        let wanted = if is_plausible { 0 } else { by_arrival - reported };
        let (before, at) = shift.unwrap_or((by_arrival - reported, arrival_us));
        let most = (arrival_us - at).max(0) / SLEW_DIVISOR;
        let moved = if (wanted - before).abs() > 2 * PLAUSIBLE_US {
            wanted
        } else {
            before + (wanted - before).clamp(-most, most)
        };
        *shift = Some((moved, arrival_us.max(at)));
        moved
    }
}

fn micros(timestamp: u64) -> i64 {
    i64::try_from(timestamp).unwrap_or(i64::MAX / 100).saturating_mul(100) / 9
}
