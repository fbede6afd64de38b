//! A viewer behind a bottleneck, in virtual time: a queue served at a fixed rate, delay, jitter and losses.

use std::collections::VecDeque;

use farstage_congestion::{BandwidthEstimator, Limits};
use farstage_rtp::rtcp::{Rtcp, read_compound, write_transport_feedback};

/// Bytes of a packet on the wire.
pub const PACKET_BYTES: u32 = 1_200;

const FRAME_US: u64 = 33_333;
const FEEDBACK_US: u64 = 50_000;
const TICK_US: u64 = 1_000;

/// A small generator of random numbers, so that each run is the same.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Uniform in 0 to 1.
    pub fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The path to the viewer.
#[derive(Clone, Debug)]
pub struct Path {
    pub rate_bps: f64,
    pub delay_us: u64,
    pub jitter_us: u64,
    pub loss: f64,
    pub max_queue_us: u64,
}

impl Path {
    pub fn of(rate_bps: f64) -> Self {
        Self { rate_bps, delay_us: 25_000, jitter_us: 0, loss: 0.0, max_queue_us: 1_000_000 }
    }
}

/// What was seen in one stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    estimates_bps: Vec<f64>,
    queues_us: Vec<u64>,
    received_bytes: u64,
    duration_us: u64,
}

impl Seen {
    pub fn mean_estimate_bps(&self) -> f64 {
        self.estimates_bps.iter().sum::<f64>() / self.estimates_bps.len() as f64
    }

    pub fn goodput_bps(&self) -> f64 {
        self.received_bytes as f64 * 8e6 / self.duration_us as f64
    }

    /// The queueing delay that this share of packets did not exceed, in milliseconds.
    pub fn queue_ms(&self, share: f64) -> f64 {
        let mut queues = self.queues_us.clone();
        queues.sort_unstable();
        let at = ((queues.len() as f64 * share) as usize).min(queues.len().saturating_sub(1));
        queues.get(at).copied().unwrap_or(0) as f64 / 1e3
    }
}

/// Server, path and viewer.
pub struct World {
    pub estimator: BandwidthEstimator,
    pub path: Path,
    /// The application never sends more than this.
    pub application_bps: f64,
    /// Whether the application sends no more than the estimate allows; a layer of a stream takes what it takes.
    pub heeds_estimate: bool,
    /// Every so many frames one is five times as large.
    pub keyframe_every: Option<u64>,
    /// Time between two frames.
    pub frame_us: u64,
    pub sends_feedback: bool,
    pub answers_probes: bool,
    now_us: u64,
    dice: Dice,
    frames: u64,
    sequence: u16,
    link_free_us: u64,
    last_arrival_us: u64,
    in_flight: VecDeque<(u16, Option<u64>)>,
    next_feedback_us: u64,
    feedbacks: VecDeque<(u64, Vec<u8>)>,
    seen: Seen,
}

impl World {
    pub fn new(limits: Limits, path: Path, seed: u64) -> Self {
        Self {
            estimator: BandwidthEstimator::new(limits, 0),
            path,
            application_bps: f64::INFINITY,
            heeds_estimate: true,
            keyframe_every: None,
            frame_us: FRAME_US,
            sends_feedback: true,
            answers_probes: true,
            now_us: 0,
            dice: Dice::new(seed),
            frames: 0,
            sequence: 65_000,
            link_free_us: 0,
            last_arrival_us: 0,
            in_flight: VecDeque::new(),
            next_feedback_us: 0,
            feedbacks: VecDeque::new(),
            seen: Seen::default(),
        }
    }

    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Lets time pass; returns what was seen in it.
    pub fn run(&mut self, seconds: f64) -> Seen {
        self.seen = Seen::default();
        let end_us = self.now_us + (seconds * 1e6) as u64;
        while self.now_us < end_us {
            self.tick();
            self.now_us += TICK_US;
        }
        self.seen.duration_us = (seconds * 1e6) as u64;
        std::mem::take(&mut self.seen)
    }

    fn tick(&mut self) {
        while self.now_us >= self.frames * self.frame_us {
            self.send_frame();
        }
        if self.answers_probes
            && let Some(probe) = self.estimator.wants_probe()
        {
            let packets = probe.bytes.div_ceil(PACKET_BYTES) as u16;
            self.estimator.sent_probe(self.sequence, packets, PACKET_BYTES, self.now_us);
            self.transmit(packets, PACKET_BYTES);
        }
        if self.now_us >= self.next_feedback_us {
            self.next_feedback_us += FEEDBACK_US;
            self.send_feedback();
        }
        while self.feedbacks.front().is_some_and(|(at_us, _)| *at_us <= self.now_us) {
            let (_, datagram) = self.feedbacks.pop_front().unwrap();
            for packet in read_compound(&datagram) {
                let Ok(Rtcp::TransportFeedback(feedback)) = packet else { panic!("{packet:?}") };
                self.estimator.feedback(&feedback, self.now_us);
            }
        }
        self.seen.estimates_bps.push(self.estimator.estimate_bps() as f64);
    }

    fn send_frame(&mut self) {
        let estimate_bps = if self.heeds_estimate { self.estimator.estimate_bps() as f64 } else { f64::INFINITY };
        let bitrate_bps = estimate_bps.min(self.application_bps);
        if bitrate_bps == 0.0 {
            self.frames += 1;
            return;
        }
        let is_keyframe = self.keyframe_every.is_some_and(|every| self.frames.is_multiple_of(every));
        let factor = if is_keyframe { 5.0 } else { 0.8 + 0.4 * self.dice.roll() };
        let bytes = bitrate_bps * self.frame_us as f64 / 8e6 * factor;
        let packets = (bytes / f64::from(PACKET_BYTES)).ceil().max(1.0);
        let bytes_each = (bytes / packets).max(50.0) as u32;
        self.frames += 1;
        self.estimator.sent(self.sequence, packets as u16, bytes_each, self.now_us);
        self.transmit(packets as u16, bytes_each);
    }

    fn transmit(&mut self, packets: u16, bytes_each: u32) {
        for _ in 0..packets {
            let arrival_us = self.carry(bytes_each);
            self.in_flight.push_back((self.sequence, arrival_us));
            self.sequence = self.sequence.wrapping_add(1);
        }
    }

    /// Puts a packet through the bottleneck; returns when it arrives.
    fn carry(&mut self, bytes: u32) -> Option<u64> {
        let queue_us = self.link_free_us.saturating_sub(self.now_us);
        if queue_us > self.path.max_queue_us {
            return None;
        }
        self.seen.queues_us.push(queue_us);
        let service_us = f64::from(bytes) * 8e6 / self.path.rate_bps;
        self.link_free_us = self.link_free_us.max(self.now_us) + service_us as u64;
        if self.dice.roll() < self.path.loss {
            return None;
        }
        self.seen.received_bytes += u64::from(bytes);
        let jitter_us = (self.dice.roll() * self.path.jitter_us as f64) as u64;
        let arrival_us = self.link_free_us + self.path.delay_us + jitter_us;
        self.last_arrival_us = self.last_arrival_us.max(arrival_us);
        Some(self.last_arrival_us)
    }

    /// Reports all packets up to the last one that has arrived.
    fn send_feedback(&mut self) {
        let has_arrived =
            |(_, arrival_us): &(u16, Option<u64>)| arrival_us.is_some_and(|arrival_us| arrival_us <= self.now_us);
        let Some(last) = self.in_flight.iter().rposition(has_arrived) else { return };
        let reported: Vec<(u16, Option<u64>)> = self.in_flight.drain(..=last).collect();
        let arrivals: Vec<Option<i64>> =
            reported.iter().map(|(_, arrival_us)| arrival_us.map(|at| at as i64 + 7_000_000)).collect();
        let mut covered = 0;
        while self.sends_feedback && covered < arrivals.len() {
            let mut datagram = Vec::new();
            let base = reported[covered].0;
            let count = write_transport_feedback(&mut datagram, 1, 2, base, 0, &arrivals[covered..]);
            if count == 0 {
                break;
            }
            covered += count;
            self.feedbacks.push_back((self.now_us + self.path.delay_us, datagram));
        }
    }
}
