//! The RTCP that a viewer sends: what it lacks, what it got, when, and what it thinks its line takes.

use std::time::Instant;

use farstage_rtp::rtcp::{
    FirEntry, ReportBlock, write_fir, write_nack, write_pli, write_receiver_report, write_remb,
    write_transport_feedback,
};

use super::{Client, OWN_SSRC};

impl Client {
    /// Sends a compound of RTCP, encrypted.
    pub fn rtcp(&mut self, mut compound: Vec<u8>) {
        let (sender, _) = self.keys.as_mut().expect("a connected viewer");
        sender.protect_rtcp(&mut compound).expect("a compound");
        self.outgoing.push((self.path, compound));
    }

    /// Asks for packets again.
    pub fn nack(&mut self, sequences: &[u16]) {
        let mut out = Vec::new();
        write_nack(&mut out, OWN_SSRC, self.answer.video_ssrc, sequences);
        self.rtcp(out);
    }

    /// Says that the picture is lost.
    pub fn pli(&mut self) {
        let mut out = Vec::new();
        write_pli(&mut out, OWN_SSRC, self.answer.video_ssrc);
        self.rtcp(out);
    }

    /// Asks for a keyframe by a numbered request.
    pub fn fir(&mut self, request: u8) {
        let mut out = Vec::new();
        write_fir(&mut out, OWN_SSRC, &[FirEntry { ssrc: self.answer.video_ssrc, request }]);
        self.rtcp(out);
    }

    /// Reports reception; fields of the block that say nothing may be left at their defaults.
    pub fn receiver_report(&mut self, block: ReportBlock) {
        let mut out = Vec::new();
        write_receiver_report(&mut out, OWN_SSRC, &[ReportBlock { ssrc: self.answer.video_ssrc, ..block }]);
        self.rtcp(out);
    }

    /// States an estimate of its own.
    pub fn remb(&mut self, bits_per_s: u64) {
        let mut out = Vec::new();
        write_remb(&mut out, OWN_SSRC, bits_per_s, &[self.answer.video_ssrc]);
        self.rtcp(out);
    }

    /// Reports arrivals from one transport-wide number on, true or not. Returns how many it covered.
    pub fn transport_feedback(&mut self, base: u16, arrivals_us: &[Option<i64>]) -> usize {
        let mut out = Vec::new();
        let (count, ssrc) = (self.feedback_count, self.answer.video_ssrc);
        self.feedback_count = count.wrapping_add(1);
        let covered = write_transport_feedback(&mut out, OWN_SSRC, ssrc, base, count, arrivals_us);
        if covered > 0 {
            self.rtcp(out);
        }
        covered
    }

    /// Reports truly what has arrived by now and was not reported yet.
    pub fn report_arrivals(&mut self, now: Instant) {
        let now_us = now.duration_since(self.start).as_micros() as u64;
        let arrived = self.arrivals.iter().take_while(|(_, at_us)| *at_us <= now_us).count();
        let mut batch: Vec<(u16, u64)> = self.arrivals.drain(..arrived).collect();
        while let (Some(&(base, _)), Some(&(last, _))) = (batch.first(), batch.last()) {
            let count = usize::from(last.wrapping_sub(base)) + 1;
            let mut times = vec![None; count];
            for (number, at_us) in &batch {
                times[usize::from(number.wrapping_sub(base))] = Some(*at_us as i64);
            }
            let covered = self.transport_feedback(base, &times);
            batch.retain(|(number, _)| usize::from(number.wrapping_sub(base)) >= covered);
        }
    }
}
