//! Short bursts above the estimate, to find capacity that nothing else would show.
//!
//! After the start with three times the first rate, each probe that got through is followed by one at twice the
//! measured rate. Later, every five seconds without congestion: at twice the estimate while the application sends
//! less than it may, at one and a half times otherwise.

use crate::history::SentPacket;

const PERIOD_US: u64 = 5_000_000;
const TIMEOUT_US: u64 = 1_000_000;
const START_FACTOR: f64 = 3.0;
const FOLLOW_FACTOR: f64 = 2.0;
const LIMITED_FACTOR: f64 = 2.0;
const BUSY_FACTOR: f64 = 1.5;

/// A probe that measured this share of its rate got through, and another follows.
const SUCCESS: f64 = 0.7;

/// A probe that measured less than this share of its rate filled the link; somewhat less than measured is taken.
const SATURATED: f64 = 0.9;
const SATURATED_SHARE: f64 = 0.95;

const MIN_RECEIVED_SHARE: f64 = 0.8;
const DURATION_S: f64 = 0.015;
const MIN_BYTES: f64 = 6_000.0;
const MAX_BYTES: f64 = 150_000.0;

/// A burst to send: padding or repeated packets, in one go or spread at its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The rate to reach while it lasts, in bits a second.
    pub bitrate_bps: u64,
    /// How much of it is still to be sent, in bytes; at least five packets of usual size are wanted in all.
    pub bytes: u32,
}

/// Decides on probes and measures them.
#[derive(Clone, Debug)]
pub(crate) struct Prober {
    state: State,
    has_started: bool,
    decided_us: u64,
}

#[derive(Clone, Debug)]
enum State {
    Idle,
    /// A probe is being sent, or its feedback awaited.
    Probing {
        target_bps: f64,
        unsent_bytes: u64,
        sent_bytes: u64,
        measurement: Measurement,
    },
}

/// What arrived of a probe.
#[derive(Clone, Debug, Default)]
struct Measurement {
    reported_bytes: u64,
    received_bytes: u64,
    first: Option<(i64, u64)>,
    last_us: i64,
}

impl Prober {
    /// None sent yet.
    pub(crate) fn new() -> Self {
        Self { state: State::Idle, has_started: false, decided_us: 0 }
    }

    /// What is to be sent now.
    pub(crate) fn wanted(&self) -> Option<Probe> {
        match &self.state {
            State::Probing { target_bps, unsent_bytes, .. } if *unsent_bytes > 0 => {
                Some(Probe { bitrate_bps: *target_bps as u64, bytes: u32::try_from(*unsent_bytes).unwrap_or(u32::MAX) })
            }
            _ => None,
        }
    }

    /// Notes bytes sent for a probe.
    pub(crate) fn sent(&mut self, bytes: u64, now_us: u64) {
        if let State::Probing { unsent_bytes, sent_bytes, .. } = &mut self.state {
            *unsent_bytes = unsent_bytes.saturating_sub(bytes);
            *sent_bytes = sent_bytes.saturating_add(bytes);
            self.decided_us = now_us;
        }
    }

    /// Notes what became of a packet of a probe.
    pub(crate) fn packet(&mut self, packet: SentPacket, arrival_us: Option<i64>) {
        if let State::Probing { measurement, .. } = &mut self.state {
            measurement.add(packet.bytes, arrival_us);
        }
    }

    /// After a feedback: the measured rate of a probe that is complete, in bits a second; and the next probe.
    pub(crate) fn evaluate(
        &mut self,
        estimate_bps: f64,
        max_bps: f64,
        is_application_limited: bool,
        congested_us: Option<u64>,
        now_us: u64,
    ) -> Option<f64> {
        let since_us = now_us.saturating_sub(self.decided_us.max(congested_us.unwrap_or(0)));
        match &self.state {
            State::Probing { target_bps, unsent_bytes: 0, sent_bytes, measurement }
                if measurement.reported_bytes >= *sent_bytes =>
            {
                let (target_bps, result) = (*target_bps, measurement.rate_bps(*sent_bytes));
                self.conclude(target_bps, result, max_bps, now_us)
            }
            State::Probing { .. } if since_us > TIMEOUT_US => {
                self.state = State::Idle;
                None
            }
            State::Probing { .. } => None,
            State::Idle => {
                let factor = match (self.has_started, is_application_limited) {
                    (false, _) => START_FACTOR,
                    (true, true) => LIMITED_FACTOR,
                    (true, false) => BUSY_FACTOR,
                };
                if !self.has_started || since_us > PERIOD_US {
                    self.start(factor * estimate_bps, estimate_bps, max_bps, now_us);
                }
                None
            }
        }
    }

    fn start(&mut self, target_bps: f64, known_bps: f64, max_bps: f64, now_us: u64) {
        self.has_started = true;
        self.decided_us = now_us;
        let target_bps = target_bps.min(max_bps);
        if target_bps < 1.1 * known_bps {
            self.state = State::Idle;
            return;
        }
        let bytes = (target_bps * DURATION_S / 8.0).clamp(MIN_BYTES, MAX_BYTES);
        self.state = State::Probing {
            target_bps,
            unsent_bytes: bytes as u64,
            sent_bytes: 0,
            measurement: Measurement::default(),
        };
    }

    fn conclude(&mut self, target_bps: f64, received_bps: Option<f64>, max_bps: f64, now_us: u64) -> Option<f64> {
        self.state = State::Idle;
        self.decided_us = now_us;
        let received_bps = received_bps?;
        if received_bps < SATURATED * target_bps {
            return Some(SATURATED_SHARE * received_bps);
        }
        let measured_bps = received_bps.min(target_bps);
        if measured_bps > SUCCESS * target_bps {
            self.start(FOLLOW_FACTOR * measured_bps, measured_bps, max_bps, now_us);
        }
        Some(measured_bps)
    }
}

impl Measurement {
    fn add(&mut self, bytes: u64, arrival_us: Option<i64>) {
        self.reported_bytes = self.reported_bytes.saturating_add(bytes);
        let Some(arrival_us) = arrival_us else { return };
        self.received_bytes = self.received_bytes.saturating_add(bytes);
        if self.first.is_none() {
            self.first = Some((arrival_us, bytes));
            self.last_us = arrival_us;
        }
        self.last_us = self.last_us.max(arrival_us);
    }

    /// The rate between the first arrival and the last; infinite where they came at once, `None` where too little
    /// came.
    fn rate_bps(&self, sent_bytes: u64) -> Option<f64> {
        let (first_us, first_bytes) = self.first?;
        if (self.received_bytes as f64) < MIN_RECEIVED_SHARE * sent_bytes as f64 {
            return None;
        }
        let duration_us = self.last_us.saturating_sub(first_us);
        let bits = 8.0 * (self.received_bytes - first_bytes) as f64;
        Some(bits * 1e6 / duration_us as f64).filter(|rate| !rate.is_nan())
    }
}
