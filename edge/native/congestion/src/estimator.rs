//! The estimator of one viewer: history, delay, losses, probes and caps brought together.

use farstage_rtp::rtcp::TransportFeedback;

use crate::aimd::{Aimd, Conditions};
use crate::history::{History, SentPacket};
use crate::loss::{LossBound, Rates};
use crate::probe::{Probe, Prober};
use crate::rate::{PeakRate, RateWindow};
use crate::round_trip::RoundTrips;
use crate::trend::{DelayTrend, Usage};

const ACKNOWLEDGED_WINDOW_US: u64 = 240_000;
const SENT_WINDOW_US: u64 = 1_000_000;
const SENT_PEAK_US: f64 = 5e6;
const BURST_PEAK_US: f64 = 1e6;

/// More than this multiple of the highest rate sent lately cannot arrive, whatever feedback says.
const MAX_ACKNOWLEDGED: f64 = 1.5;

/// Sending less than this share of the estimate is the application's own choice.
const APPLICATION_LIMITED: f64 = 0.7;

/// Without any feedback for this long while packets are sent, the rate goes down step by step.
const SILENCE_US: u64 = 3_000_000;
const SILENCE_STEP_US: u64 = 1_000_000;
const SILENCE_SHARE: f64 = 0.7;

/// Reports steer the rate where no transport-wide feedback came for this long.
const FEEDBACK_TIMEOUT_US: u64 = 2_000_000;

/// Round trips longer than the shortest by this much mean a growing queue, where only reports tell.
const MAX_QUEUE_US: u64 = 100_000;

/// A queue of this length from which less than this share of what is sent arrives overflows.
const OVERFLOWING_QUEUE_US: u64 = 150_000;
const OVERFLOWING_SHARE: f64 = 0.8;

/// A receiver's own estimate counts for this long.
const REMB_LIFETIME_US: u64 = 15_000_000;

/// A step of the receiver's clock beyond this, or backwards, starts its rate anew.
const MAX_ARRIVAL_STEP_US: u64 = 10_000_000;

/// Bounds of the estimate, in bits a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// It never falls below.
    pub min_bps: u64,
    /// It begins here.
    pub start_bps: u64,
    /// It never rises above, and no probe goes beyond.
    pub max_bps: u64,
}

/// Estimates what the path to one viewer takes.
///
/// All times are microseconds of one clock that does not run backwards. Memory is fixed, about 5 kB.
#[derive(Clone, Debug)]
pub struct BandwidthEstimator {
    limits: Limits,
    history: History,
    sent: RateWindow,
    sent_peak: PeakRate,
    burst: RateWindow,
    burst_peak: PeakRate,
    acknowledged: RateWindow,
    arrivals: ArrivalClock,
    trend: DelayTrend,
    aimd: Aimd,
    losses: LossBound,
    prober: Prober,
    remb: Option<(f64, u64)>,
    round_trips: RoundTrips,
    heard_us: Option<u64>,
    feedback_us: Option<u64>,
    silence_step_us: u64,
}

impl BandwidthEstimator {
    /// A new viewer's.
    pub fn new(limits: Limits, now_us: u64) -> Self {
        Self {
            limits,
            history: History::new(),
            sent: RateWindow::new(SENT_WINDOW_US),
            sent_peak: PeakRate::new(SENT_PEAK_US),
            burst: RateWindow::new(ACKNOWLEDGED_WINDOW_US),
            burst_peak: PeakRate::new(BURST_PEAK_US),
            acknowledged: RateWindow::new(ACKNOWLEDGED_WINDOW_US),
            arrivals: ArrivalClock::default(),
            trend: DelayTrend::new(),
            aimd: Aimd::new(limits.start_bps as f64, now_us),
            losses: LossBound::new(now_us),
            prober: Prober::new(),
            remb: None,
            round_trips: RoundTrips::new(now_us),
            heard_us: None,
            feedback_us: None,
            silence_step_us: now_us,
        }
    }

    /// Changes the bounds, such as when other layers are offered; the estimate moves into them.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.aimd.clamp(limits.min_bps as f64, limits.max_bps as f64);
    }

    /// Notes a run of packets with consecutive transport-wide numbers, sent at once. `bytes_each` is a packet's
    /// size on the wire; for a run whose last packet is shorter, that of the others will do.
    pub fn sent(&mut self, first_sequence: u16, packets: u16, bytes_each: u32, now_us: u64) {
        self.note_sent(first_sequence, packets, bytes_each, now_us, false);
    }

    /// Notes packets sent for the probe that [`BandwidthEstimator::wants_probe`] asked for.
    pub fn sent_probe(&mut self, first_sequence: u16, packets: u16, bytes_each: u32, now_us: u64) {
        self.note_sent(first_sequence, packets, bytes_each, now_us, true);
        self.prober.sent(u64::from(packets) * u64::from(bytes_each), now_us);
    }

    /// Takes what the viewer says about arrivals.
    pub fn feedback(&mut self, feedback: &TransportFeedback<'_>, now_us: u64) {
        let mut newest_sent_us = None;
        for status in feedback.packets() {
            if self.history.is_beyond(status.sequence) {
                break;
            }
            let Some(packet) = self.history.take(status.sequence) else { continue };
            self.packet(packet, status.arrival_us);
            if status.arrival_us.is_some() {
                newest_sent_us = Some(packet.sent_us);
            }
        }
        if let Some(sent_us) = newest_sent_us {
            self.heard_us = Some(now_us);
            self.feedback_us = Some(now_us);
            self.round_trips.observe(now_us.saturating_sub(sent_us), now_us);
            self.update(now_us);
        }
    }

    /// Takes a receiver report: the share of packets lost (0 to 1), and the round-trip time if it is known. It
    /// counts only for viewers that send no transport-wide feedback: its round trip is that of a sender report up to a
    /// second ago, which knows nothing of a queue since.
    pub fn report(&mut self, loss: f64, rtt_us: Option<u64>, now_us: u64) {
        self.heard_us = Some(now_us);
        if self.feedback_us.is_some_and(|at| now_us.saturating_sub(at) < FEEDBACK_TIMEOUT_US) {
            return;
        }
        if let Some(rtt_us) = rtt_us {
            self.round_trips.observe(rtt_us, now_us);
        }
        let loss = if loss.is_finite() { loss.clamp(0.0, 1.0) } else { 0.0 };
        let Some(sent_bps) = self.sent.rate_bps(now_us) else { return };
        let rates = self.rates(sent_bps * (1.0 - loss));
        self.losses.sample(loss, &rates, self.round_trips.shortest_us(), now_us);
        let is_queueing = self.round_trips.queue_us() > MAX_QUEUE_US;
        let usage = if is_queueing { Usage::Growing } else { Usage::Steady };
        self.follow(usage, rates.acknowledged_bps, now_us);
    }

    /// Takes a receiver's own estimate (REMB), which caps ours for a while.
    pub fn remb(&mut self, bitrate_bps: u64, now_us: u64) {
        self.remb = Some((bitrate_bps as f64, now_us));
    }

    /// What the path takes, in bits a second.
    pub fn estimate_bps(&self) -> u64 {
        let cap_bps = self.remb.map_or(f64::INFINITY, |(bitrate_bps, _)| bitrate_bps);
        let bound_bps = self.losses.bound_bps().min(cap_bps);
        let estimate_bps = self.aimd.estimate_bps().min(bound_bps) as u64;
        estimate_bps.min(self.limits.max_bps).max(self.limits.min_bps)
    }

    /// A burst to send now, beside the media, to learn whether more would get through.
    pub fn wants_probe(&self) -> Option<Probe> {
        self.prober.wanted()
    }

    /// Round-trip time in microseconds; with transport-wide feedback including the time that it is held back.
    pub fn rtt_us(&self) -> u64 {
        self.round_trips.smoothed_us()
    }

    /// How much longer than the shortest lately the latest round trip was: what waits before the path's bottleneck.
    pub fn queue_us(&self) -> u64 {
        self.round_trips.queue_us()
    }

    /// Smoothed share of packets lost, 0 to 1.
    pub fn loss(&self) -> f64 {
        self.losses.share()
    }

    fn note_sent(&mut self, first: u16, packets: u16, bytes_each: u32, now_us: u64, is_probe: bool) {
        if packets == 0 {
            return;
        }
        self.history.push(first, packets, bytes_each, now_us, is_probe);
        let bytes = u64::from(packets) * u64::from(bytes_each);
        self.sent.add(now_us, bytes);
        self.burst.add(now_us, bytes);
        self.burst_peak.observe(self.burst.rate_bps(now_us).unwrap_or(0.0), now_us);
        self.step_down_in_silence(now_us);
        self.remb = self.remb.filter(|(_, at)| now_us.saturating_sub(*at) < REMB_LIFETIME_US);
    }

    fn step_down_in_silence(&mut self, now_us: u64) {
        let Some(heard_us) = self.heard_us else { return };
        let is_silent = now_us.saturating_sub(heard_us) > SILENCE_US;
        if is_silent && self.history.has_unreported() && now_us.saturating_sub(self.silence_step_us) > SILENCE_STEP_US {
            self.silence_step_us = now_us;
            self.aimd.scale(SILENCE_SHARE, now_us);
            self.clamp();
        }
    }

    fn packet(&mut self, packet: SentPacket, arrival_us: Option<i64>) {
        self.losses.packet(arrival_us.is_some());
        if packet.is_probe {
            self.prober.packet(packet, arrival_us);
        }
        let Some(arrival_us) = arrival_us else { return };
        let Some(elapsed_us) = self.arrivals.elapsed_us(arrival_us) else {
            self.acknowledged.clear();
            return;
        };
        self.acknowledged.add(elapsed_us, packet.bytes);
        self.trend.packet(packet.sent_us, arrival_us);
    }

    fn update(&mut self, now_us: u64) {
        let sent_bps = self.sent.rate_bps(now_us);
        let acknowledged_bps = self.acknowledged.rate_bps(self.arrivals.latest_us);
        if let (Some(sent_bps), Some(acknowledged_bps)) = (sent_bps, acknowledged_bps) {
            let peak_bps = self.sent_peak.observe(sent_bps, now_us);
            let rates = self.rates(acknowledged_bps.min(MAX_ACKNOWLEDGED * peak_bps));
            self.losses.evaluate(&rates, self.round_trips.shortest_us(), now_us);
            let usage = match self.trend.take_usage() {
                Usage::Steady if self.overflows(sent_bps, rates.acknowledged_bps) => Usage::Growing,
                usage => usage,
            };
            self.follow(usage, rates.acknowledged_bps, now_us);
        }
        self.probe(sent_bps, now_us);
    }

    /// Whether a long queue loses what is sent: a short one has filled before its growth made a trend.
    fn overflows(&self, sent_bps: f64, acknowledged_bps: f64) -> bool {
        self.round_trips.queue_us() > OVERFLOWING_QUEUE_US && acknowledged_bps < OVERFLOWING_SHARE * sent_bps
    }

    fn rates(&self, acknowledged_bps: f64) -> Rates {
        Rates { estimate_bps: self.aimd.estimate_bps(), acknowledged_bps }
    }

    fn follow(&mut self, usage: Usage, acknowledged_bps: f64, now_us: u64) {
        let sent_bps = self.sent.rate_bps(now_us);
        let conditions = Conditions {
            usage,
            acknowledged_bps,
            sent_bps: sent_bps.unwrap_or(0.0),
            burst_bps: self.burst_peak.observe(0.0, now_us),
            rtt_us: self.round_trips.shortest_us(),
            queue_us: self.round_trips.queue_us(),
            is_application_limited: self.is_application_limited(sent_bps),
            is_held: self.losses.is_holding(),
        };
        self.aimd.update(&conditions, now_us);
        self.clamp();
    }

    fn probe(&mut self, sent_bps: Option<f64>, now_us: u64) {
        let measured_bps = self.prober.evaluate(
            self.aimd.estimate_bps(),
            self.limits.max_bps as f64,
            self.is_application_limited(sent_bps),
            self.aimd.decreased_us(),
            now_us,
        );
        if let Some(measured_bps) = measured_bps {
            self.aimd.raise(measured_bps, now_us);
            self.losses.raise(measured_bps);
            self.clamp();
        }
    }

    fn is_application_limited(&self, sent_bps: Option<f64>) -> bool {
        sent_bps.is_some_and(|sent_bps| sent_bps < APPLICATION_LIMITED * self.aimd.estimate_bps())
    }

    fn clamp(&mut self) {
        self.aimd.clamp(self.limits.min_bps as f64, self.limits.max_bps as f64);
    }
}

/// The receiver's clock, made to run forwards from zero.
#[derive(Clone, Debug, Default)]
struct ArrivalClock {
    last_us: Option<i64>,
    latest_us: u64,
}

impl ArrivalClock {
    /// Time since the first arrival; an arrival before the latest one counts as that. `None` where the clock
    /// jumped.
    fn elapsed_us(&mut self, arrival_us: i64) -> Option<u64> {
        let last_us = *self.last_us.get_or_insert(arrival_us);
        if arrival_us.abs_diff(last_us) > MAX_ARRIVAL_STEP_US {
            *self = Self { last_us: Some(arrival_us), latest_us: 0 };
            return None;
        }
        if arrival_us > last_us {
            self.latest_us += arrival_us.abs_diff(last_us);
            self.last_us = Some(arrival_us);
        }
        Some(self.latest_us)
    }
}
