//! One RTP stream (SSRC) of a viewer.

use crate::clock::Arrival;
use crate::counters::Counters;
use crate::feedback::ReportBlock;
use crate::pictures::Pictures;
use crate::sdp::Payload;
use crate::sequence::{Continuity, Sequence};

/// Its numbers, pictures, jitter, and the sender's last report.
#[derive(Debug)]
pub struct Stream {
    /// Synchronisation source.
    pub ssrc: u32,
    /// What its first packet carried.
    pub payload: Payload,
    /// Continuity.
    pub sequence: Sequence,
    /// Pictures, for video.
    pub pictures: Pictures,
    /// The last sender report: middle bits of its NTP time, and when it came.
    pub sender_report: Option<(u32, u64)>,
    transit: Option<u32>,
    /// Jitter in timestamp units, times 16 (RFC 3550 appendix A.8).
    jitter16: u32,
    jumped: u64,
}

impl Stream {
    /// A stream whose first packet has this number.
    pub fn new(ssrc: u32, payload: Payload, number: u16) -> Self {
        Self {
            ssrc,
            payload,
            sequence: Sequence::starting_at(number),
            pictures: Pictures::default(),
            sender_report: None,
            transit: None,
            jitter16: 0,
            jumped: 0,
        }
    }

    /// Takes a packet by its extended number; false for one seen before.
    pub fn take(
        &mut self,
        number: u64,
        timestamp: u32,
        arrival: Arrival,
        kind: Payload,
        counters: &mut Counters,
    ) -> bool {
        let continuity = self.sequence.take(number, arrival.now_us);
        match continuity {
            Continuity::Next => {}
            Continuity::Ahead => {
                counters.lost_packets += self.sequence.jumped() - self.jumped;
                self.jumped = self.sequence.jumped();
            }
            Continuity::Filled(true) => counters.recovered_packets += 1,
            Continuity::Filled(false) => counters.reordered_packets += 1,
            Continuity::Old => {
                counters.duplicate_packets += 1;
                return false;
            }
        }
        if kind != Payload::Rtx {
            self.note_jitter(timestamp, arrival.wall_us);
        }
        true
    }

    fn note_jitter(&mut self, timestamp: u32, wall_us: u64) {
        let kilohertz = if self.payload == Payload::Opus { 48 } else { 90 };
        let transit = ((wall_us * kilohertz / 1000) as u32).wrapping_sub(timestamp);
        if let Some(last) = self.transit.replace(transit) {
            let step = (transit.wrapping_sub(last) as i32).unsigned_abs().min(u32::MAX >> 5);
            self.jitter16 = self.jitter16 - (self.jitter16 + 8) / 16 + step;
        }
    }

    /// The block about this stream for a receiver report.
    pub fn report(&mut self, now_us: u64) -> ReportBlock {
        let (cumulative_lost, fraction_lost) = self.sequence.report();
        let (last_sender_report, came_us) = self.sender_report.unwrap_or_default();
        let since_us = if last_sender_report == 0 { 0 } else { now_us - came_us };
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost,
            cumulative_lost,
            highest_sequence: self.sequence.highest(),
            jitter: self.jitter16 / 16,
            last_sender_report,
            delay_since: ((since_us << 16) / 1_000_000) as u32,
        }
    }
}
