//! What a viewer's RTCP tells, and the reports it gets in return.

use std::time::{Duration, Instant};

use farstage_congestion::{BandwidthEstimator, Limits};
use farstage_rtp::rtcp::{
    ReportBlock, Rtcp, SenderInfo, TransportFeedback, middle_of_ntp, read_compound, write_receiver_report, write_sdes,
    write_sender_report,
};

use crate::clock::WireClock;
use crate::reception::Reception;
use crate::retransmission::RetransmissionBudget;
use crate::sdp::Ssrcs;
use crate::sender::{AudioSender, Sent, VideoSender};
use crate::stream::PacketizedFrame;

/// Packets one RTCP packet may ask for; a receiver that misses more needs a keyframe.
const MAX_MISSING: usize = 256;
/// Bounds of the estimate, bits a second.
const LEAST_BPS: u64 = 150_000;
const MOST_BPS: u64 = 20_000_000;
/// No more than this multiple of the stream is looked for: it costs packets, and nobody would use it.
const HEADROOM: u64 = 2;
const LEAST_CEILING_BPS: u64 = 5_000_000;
const CNAME: &[u8] = b"farstage";
const VIDEO_HZ: u64 = 90_000;
const AUDIO_HZ: u64 = 48_000;

/// What an RTCP packet asks for.
#[derive(Debug, Default)]
pub struct Asked {
    /// Sequence numbers of packets of the video.
    pub missing: Vec<u16>,
    /// Whether a keyframe is needed.
    pub keyframe: bool,
    /// Whether some of it could not be read.
    pub malformed: bool,
}

/// One viewer's reports.
#[derive(Debug)]
pub struct Feedback {
    ssrcs: Ssrcs,
    /// Latest round trip.
    pub rtt: Option<Duration>,
    /// Interarrival jitter.
    pub jitter_ms: Option<f32>,
    /// Share lost between the latest two reports.
    pub loss: Option<f32>,
    /// Receiver reports for the video.
    pub reports: u64,
    /// PLI and FIR.
    pub keyframe_requests: u64,
    /// Packets of the video asked for again.
    pub nacks: u64,
    /// How much may be sent again.
    pub budget: RetransmissionBudget,
    remb_bps: Option<u64>,
    estimator: Box<BandwidthEstimator>,
    transport_cc: bool,
    /// What the line is thought to take before it has told.
    start_bps: u64,
    told_arrivals: bool,
    last_fir: Option<u8>,
    voice: Option<Reception>,
    sender_report: Option<(u32, Instant)>,
    start: Instant,
}

impl Feedback {
    /// Nothing told yet. `transport_cc`: whether the viewer reports every packet's arrival;
    /// `start_bps`: what its line is thought to take.
    pub fn new(ssrcs: Ssrcs, transport_cc: bool, start_bps: u64, now: Instant) -> Self {
        let start_bps = start_bps.clamp(LEAST_BPS, MOST_BPS);
        let limits = Limits { min_bps: LEAST_BPS, start_bps, max_bps: LEAST_CEILING_BPS.max(start_bps) };
        Self {
            ssrcs,
            rtt: None,
            jitter_ms: None,
            loss: None,
            reports: 0,
            keyframe_requests: 0,
            nacks: 0,
            budget: RetransmissionBudget::default(),
            remb_bps: None,
            estimator: Box::new(BandwidthEstimator::new(limits, 0)),
            transport_cc,
            start_bps,
            told_arrivals: false,
            last_fir: None,
            voice: None,
            sender_report: None,
            start: now,
        }
    }

    /// What the line takes by the arrival of every packet; `None` before the viewer reported any.
    pub fn measured_bps(&self) -> Option<u64> {
        self.told_arrivals.then(|| self.estimator.estimate_bps())
    }

    /// What the receiver itself estimates (REMB).
    pub fn remb_bps(&self) -> Option<u64> {
        self.remb_bps
    }

    /// What the line takes, as far as is known.
    pub fn estimate_bps(&self) -> u64 {
        self.estimator.estimate_bps()
    }

    /// How long what is sent now waits before the line.
    pub fn queue(&self) -> Duration {
        Duration::from_micros(self.estimator.queue_us())
    }

    /// What the stream takes in its highest layer: looking for much more than that is of no use.
    pub fn set_stream_rate(&mut self, bits_per_s: u64) {
        let most = (HEADROOM * bits_per_s).clamp(LEAST_CEILING_BPS, MOST_BPS);
        self.estimator.set_limits(Limits { min_bps: LEAST_BPS, start_bps: self.start_bps, max_bps: most });
    }

    fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_micros() as u64
    }

    /// Packets were sent.
    pub fn sent(&mut self, sent: &Sent, now: Instant) {
        self.estimator.sent(sent.transport, sent.packets, sent.packet_bytes, self.micros(now));
    }

    /// Packets were sent for a probe.
    pub fn probed(&mut self, sent: &Sent, now: Instant) {
        self.estimator.sent_probe(sent.transport, sent.packets, sent.packet_bytes, self.micros(now));
    }

    /// Bytes of a burst to send now, to learn whether the line takes more.
    pub fn wants_probe(&self) -> Option<u32> {
        Some(self.estimator.wants_probe()?.bytes).filter(|_| self.transport_cc)
    }

    /// Read a compound packet, decrypted.
    pub fn take(&mut self, compound: &[u8], now_ntp: u64, now: Instant) -> Asked {
        let mut asked = Asked::default();
        for packet in read_compound(compound) {
            match packet {
                Ok(packet) => self.take_one(&packet, now_ntp, now, &mut asked),
                Err(_) => asked.malformed = true,
            }
        }
        self.keyframe_requests += u64::from(asked.keyframe);
        self.nacks += asked.missing.len() as u64;
        asked
    }

    fn take_one(&mut self, packet: &Rtcp<'_>, now_ntp: u64, now: Instant, asked: &mut Asked) {
        match packet {
            Rtcp::ReceiverReport(report) => report.blocks().for_each(|block| self.take_block(&block, now_ntp, now)),
            Rtcp::SenderReport(report) => {
                self.sender_report = Some((middle_of_ntp(report.info.ntp), now));
                report.blocks().for_each(|block| self.take_block(&block, now_ntp, now));
            }
            Rtcp::Nack(nack) if nack.media_ssrc == self.ssrcs.video => {
                let room = MAX_MISSING.saturating_sub(asked.missing.len());
                asked.missing.extend(nack.sequences().take(room));
            }
            Rtcp::Pli(pli) if pli.media_ssrc == self.ssrcs.video => asked.keyframe = true,
            Rtcp::Fir(fir) => {
                if let Some(entry) = fir.entries().find(|entry| entry.ssrc == self.ssrcs.video) {
                    asked.keyframe |= self.last_fir != Some(entry.request);
                    self.last_fir = Some(entry.request);
                }
            }
            Rtcp::Remb(remb) if remb.ssrcs().any(|ssrc| ssrc == self.ssrcs.video) => {
                self.remb_bps = Some(remb.bitrate_bps);
                self.estimator.remb(remb.bitrate_bps, self.micros(now));
            }
            Rtcp::TransportFeedback(feedback) => self.take_arrivals(feedback, now),
            _ => {}
        }
    }

    fn take_arrivals(&mut self, feedback: &TransportFeedback<'_>, now: Instant) {
        if self.transport_cc {
            self.told_arrivals = true;
            self.estimator.feedback(feedback, self.micros(now));
        }
    }

    fn take_block(&mut self, block: &ReportBlock, now_ntp: u64, now: Instant) {
        if block.ssrc != self.ssrcs.video {
            return;
        }
        self.reports += 1;
        self.loss = Some(f32::from(block.fraction_lost) / 256.0);
        self.jitter_ms = Some(block.jitter as f32 * 1_000.0 / VIDEO_HZ as f32);
        if let Some(rtt_us) = block.round_trip_us(middle_of_ntp(now_ntp)) {
            self.rtt = Some(Duration::from_micros(rtt_us));
        }
        let rtt_us = self.rtt.map(|rtt| rtt.as_micros() as u64);
        self.estimator.report(f64::from(block.fraction_lost) / 256.0, rtt_us, self.micros(now));
    }

    /// A packet of the viewer's voice arrived; returns whether it is the newest. A packet that was overtaken is lost, as
    /// sound does not wait.
    pub fn voice_arrived(&mut self, ssrc: u32, index: u64, timestamp: u32, now: Instant) -> bool {
        let known = self.voice.filter(|voice| voice.ssrc == ssrc);
        let mut voice = known.unwrap_or_else(|| Reception::new(ssrc, AUDIO_HZ, index, now));
        let newest = voice.arrived(index, timestamp, now);
        self.voice = Some(voice);
        newest
    }

    /// The reports of this second: what was sent to the viewer and what came of its voice. `None` with nothing to tell.
    pub fn compound(
        &mut self,
        now: Instant,
        clock: &WireClock,
        video: &VideoSender,
        newest: Option<&std::sync::Arc<PacketizedFrame>>,
        audio: Option<&AudioSender>,
    ) -> Option<Vec<u8>> {
        let ntp = clock.ntp(now);
        let sender_report = self.sender_report;
        let blocks: Vec<ReportBlock> = self.voice.iter_mut().map(|voice| voice.block(sender_report, now)).collect();
        let mut out = Vec::with_capacity(128);
        if let Some(frame) = newest {
            let since = now.saturating_duration_since(frame.arrived).as_micros() as u64 * VIDEO_HZ / 1_000_000;
            let info = SenderInfo {
                ssrc: self.ssrcs.video,
                ntp,
                rtp_timestamp: frame.timestamp.wrapping_add(since as u32),
                packet_count: video.packets as u32,
                octet_count: video.octets as u32,
            };
            write_sender_report(&mut out, &info, &blocks);
        } else if !blocks.is_empty() {
            write_receiver_report(&mut out, self.ssrcs.video, &blocks);
        }
        if let Some(audio) = audio.filter(|audio| audio.packets > 0) {
            let info = SenderInfo {
                ssrc: audio.ssrc(),
                ntp,
                rtp_timestamp: audio.timestamp,
                packet_count: audio.packets as u32,
                octet_count: audio.octets as u32,
            };
            write_sender_report(&mut out, &info, &[]);
        }
        if out.is_empty() {
            return None;
        }
        write_sdes(&mut out, self.ssrcs.video, CNAME);
        Some(out)
    }
}
