//! What became of one source's packets, as receiver reports tell it (RFC 3550, section 6.4.1, appendix A).

use std::time::Instant;

use farstage_rtp::rtcp::ReportBlock;

/// Statistics of one source. Its packets are named by sequence numbers extended by their rollovers.
#[derive(Debug, Clone, Copy)]
pub struct Reception {
    /// The source.
    pub ssrc: u32,
    clock_hz: u64,
    start: Instant,
    first: u64,
    highest: u64,
    received: u64,
    reported: (u64, u64),
    transit: Option<i64>,
    jitter: f64,
}

impl Reception {
    /// Of a source whose first packet is about to be noted.
    pub fn new(ssrc: u32, clock_hz: u64, first: u64, now: Instant) -> Self {
        Self {
            ssrc,
            clock_hz,
            start: now,
            first,
            highest: first,
            received: 0,
            reported: (0, 0),
            transit: None,
            jitter: 0.0,
        }
    }

    /// A packet arrived; returns whether it is the newest.
    pub fn arrived(&mut self, index: u64, timestamp: u32, now: Instant) -> bool {
        let elapsed_us = now.saturating_duration_since(self.start).as_micros() as u64;
        let arrival = (elapsed_us * self.clock_hz / 1_000_000) as u32;
        let transit = i64::from(arrival.wrapping_sub(timestamp) as i32);
        let change = (transit - self.transit.replace(transit).unwrap_or(transit)).abs();
        self.jitter += (change as f64 - self.jitter) / 16.0;
        let newest = self.received == 0 || index > self.highest;
        self.received += 1;
        self.highest = self.highest.max(index);
        self.first = self.first.min(index);
        newest
    }

    /// What is reported now. `sender_report`: the middle of the latest one's NTP time, and when it came.
    pub fn block(&mut self, sender_report: Option<(u32, Instant)>, now: Instant) -> ReportBlock {
        let expected = self.highest - self.first + 1;
        let (expected_before, received_before) = std::mem::replace(&mut self.reported, (expected, self.received));
        let due = expected.saturating_sub(expected_before);
        let lost = due.saturating_sub(self.received.saturating_sub(received_before));
        let fraction_lost = (lost * 256).checked_div(due).unwrap_or(0).min(255) as u8;
        let cumulative = i64::try_from(expected).unwrap_or(0) - i64::try_from(self.received).unwrap_or(0);
        let delay = sender_report.map(|(_, at)| now.saturating_duration_since(at).as_micros() as u64);
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost,
            cumulative_lost: cumulative.clamp(-(1 << 23), (1 << 23) - 1) as i32,
            highest_sequence: self.highest as u32,
            jitter: self.jitter as u32,
            last_sender_report: sender_report.map_or(0, |(middle, _)| middle),
            delay_since_last_sender_report: delay.map_or(0, |us| (us * 65_536 / 1_000_000) as u32),
        }
    }
}
