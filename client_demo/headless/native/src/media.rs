//! What a connected viewer does with RTP and RTCP: continuity, pictures, delay, and the feedback a browser gives.

use farstage_rtp::header::RtpHeader;
use farstage_rtp::srtp::{MasterKey, Profile, Refused, SrtpReceiver, SrtpSender};

use crate::arrivals::Arrivals;
use crate::assembly::{Assembly, Packet, Whole};
use crate::clock::{Arrival, unix_us_of_ntp};
use crate::counters::{Counters, Measures};
use crate::feedback::{self, ReportBlock};
use crate::random::Random;
use crate::sdp::{self, CAPTURE_TIME_ID, Payload, TRANSPORT_CC_ID};
use crate::stream::Stream;

/// Most streams (SSRCs) of one viewer.
const MAX_STREAMS: usize = 8;
const REPORT_US: u64 = 1_000_000;
/// Least time between two keyframe requests.
const KEYFRAME_REQUEST_US: u64 = 500_000;
/// A capture time further away than this belongs to another clock.
const MAX_DELAY_US: u64 = 60_000_000;
/// A newcomer may be sent pictures that are old on purpose: they say nothing about delay.
const NEWCOMER_US: u64 = 1_000_000;
/// Round trip assumed before the first check was answered.
const DEFAULT_RTT_US: u64 = 100_000;

/// The keys of both directions.
pub struct Keys {
    /// Protection profile.
    pub profile: Profile,
    /// The server's.
    pub inbound: MasterKey,
    /// Ours.
    pub outbound: MasterKey,
}

/// Where whole pictures go, with the arrival of their last packet.
pub type Show<'a> = &'a mut dyn FnMut(Whole<'_>, u64);

/// The fields of a packet's header that count.
struct Header {
    ssrc: u32,
    number: u16,
    timestamp: u32,
    marker: bool,
    kind: Payload,
    codec: Payload,
}

/// Media of one viewer.
pub struct Media {
    own_ssrc: u32,
    receiver: SrtpReceiver,
    sender: SrtpSender,
    streams: Vec<Stream>,
    arrivals: Arrivals,
    assembly: Option<Box<Assembly>>,
    video_codec: Payload,
    report_due_us: u64,
    feedback_due_us: u64,
    feedback_us: u64,
    keyframe_asked_us: Option<u64>,
    keyframe_wanted: bool,
    seen_picture: bool,
    settled_us: u64,
    counters: Counters,
}

impl Media {
    /// Media that begins now; with `verify` every packet is decrypted and pictures are put together.
    pub fn new(keys: &Keys, verify: bool, feedback_us: u64, random: &mut Random, now_us: u64) -> Self {
        let phase = random.unit();
        Self {
            own_ssrc: random.bits() as u32 | 1,
            receiver: SrtpReceiver::new(keys.profile, &keys.inbound),
            sender: SrtpSender::new(keys.profile, &keys.outbound),
            streams: Vec::new(),
            arrivals: Arrivals::default(),
            assembly: verify.then(Box::default),
            video_codec: Payload::H264,
            report_due_us: now_us + (REPORT_US as f64 * phase) as u64,
            feedback_due_us: now_us + (feedback_us as f64 * phase) as u64,
            feedback_us,
            keyframe_asked_us: None,
            keyframe_wanted: false,
            seen_picture: false,
            settled_us: now_us + NEWCOMER_US,
            counters: Counters::default(),
        }
    }

    /// Counters since the last call.
    pub fn take_counters(&mut self) -> Counters {
        std::mem::take(&mut self.counters)
    }

    /// Whether a whole picture was seen.
    pub fn has_seen_picture(&self) -> bool {
        self.seen_picture
    }

    /// When [`Media::tick`] has something to do next.
    pub fn due_us(&self) -> u64 {
        let holes = self.video().and_then(|stream| stream.sequence.due_us()).unwrap_or(u64::MAX);
        self.report_due_us.min(self.feedback_due_us).min(holes)
    }

    /// Takes an RTP packet.
    pub fn receive_rtp(&mut self, packet: &mut [u8], arrival: Arrival, measures: &mut Measures, show: Show<'_>) {
        let Some(header) = self.read_header(packet, arrival, measures) else {
            self.counters.foreign_packets += 1;
            return;
        };
        self.counters.packets += 1;
        self.counters.octets += packet.len() as u64;
        if self.assembly.is_none() && header.kind != Payload::Rtx {
            self.take(&header, None, arrival, measures, show);
            return;
        }
        match self.receiver.unprotect_rtp(packet) {
            Ok(received) => {
                self.counters.verified_packets += 1;
                let payload = packet.get(received.payload).unwrap_or_default();
                self.take_plain(header, payload, arrival, measures, show);
            }
            Err(Refused::Replayed) => self.counters.duplicate_packets += 1,
            Err(Refused::Forged) => self.counters.authentication_failures += 1,
            Err(_) => self.counters.foreign_packets += 1,
        }
    }

    fn read_header(&mut self, packet: &[u8], arrival: Arrival, measures: &mut Measures) -> Option<Header> {
        let header = RtpHeader::read(packet).ok()?;
        let kind = sdp::payload(header.payload_type())?;
        for element in header.extensions() {
            match (element.id, element.value) {
                (TRANSPORT_CC_ID, &[high, low]) => {
                    self.arrivals.record(u16::from_be_bytes([high, low]), arrival.wall_us);
                }
                (CAPTURE_TIME_ID, value) if kind != Payload::Rtx && arrival.now_us > self.settled_us => {
                    note_capture_time(value, arrival.wall_us, measures)
                }
                _ => {}
            }
        }
        if matches!(kind, Payload::H264 | Payload::Vp8) {
            self.video_codec = kind;
        }
        Some(Header {
            ssrc: header.ssrc(),
            number: header.sequence(),
            timestamp: header.timestamp(),
            marker: header.marker(),
            kind,
            codec: self.video_codec,
        })
    }

    /// Takes a decrypted packet; a repeat becomes the packet it repeats (RFC 4588 section 4).
    fn take_plain(
        &mut self,
        mut header: Header,
        payload: &[u8],
        arrival: Arrival,
        measures: &mut Measures,
        show: Show<'_>,
    ) {
        if header.kind != Payload::Rtx {
            self.take(&header, Some(payload), arrival, measures, show);
            return;
        }
        let (Some((number, payload)), Some(video)) = (payload.split_first_chunk::<2>(), self.video()) else {
            return;
        };
        header.ssrc = video.ssrc;
        header.number = u16::from_be_bytes(*number);
        self.counters.repeat_packets += 1;
        self.take(&header, Some(payload), arrival, measures, show);
    }

    fn take(
        &mut self,
        header: &Header,
        payload: Option<&[u8]>,
        arrival: Arrival,
        measures: &mut Measures,
        show: Show<'_>,
    ) {
        let Some(index) = self.stream_index(header) else {
            self.counters.foreign_packets += 1;
            return;
        };
        let stream = &mut self.streams[index];
        let number = stream.sequence.extend(header.number);
        let is_new = stream.take(number, header.timestamp, arrival, header.kind, &mut self.counters);
        if !is_new || stream.payload == Payload::Opus {
            return;
        }
        let progress = stream.pictures.take(header.timestamp, header.marker, arrival.wall_us);
        if progress.ended {
            self.counters.pictures += 1;
            progress.interval_us.into_iter().for_each(|interval| measures.picture_interval.record(interval));
            self.seen_picture |= self.assembly.is_none() && !stream.sequence.has_holes();
        }
        if let Some(frozen_us) = progress.frozen_us {
            self.counters.freezes += 1;
            self.counters.frozen_us += frozen_us;
        }
        let (Some(assembly), Some(payload)) = (&mut self.assembly, payload) else {
            return;
        };
        let Header { timestamp, marker, codec, .. } = *header;
        assembly.push(number, Packet { timestamp, marker, codec, payload }, |whole| {
            self.seen_picture = true;
            show(whole, arrival.wall_us);
        });
        self.counters.add(&assembly.take_counters());
    }

    /// The stream of a packet; its first one makes it known.
    fn stream_index(&mut self, header: &Header) -> Option<usize> {
        let known = self.streams.iter().position(|stream| stream.ssrc == header.ssrc);
        if known.is_some() || self.streams.len() >= MAX_STREAMS {
            return known;
        }
        self.streams.push(Stream::new(header.ssrc, header.kind, header.number));
        Some(self.streams.len() - 1)
    }

    fn video(&self) -> Option<&Stream> {
        self.streams.iter().rev().find(|stream| stream.payload != Payload::Opus)
    }

    /// Takes an RTCP packet.
    pub fn receive_rtcp(&mut self, packet: &mut [u8], now_us: u64) {
        match self.receiver.unprotect_rtcp(packet) {
            Ok(length) => {
                self.counters.reports_received += 1;
                let Some((ssrc, middle)) = packet.get(..length).and_then(feedback::sender_report) else {
                    return;
                };
                if let Some(stream) = self.streams.iter_mut().find(|stream| stream.ssrc == ssrc) {
                    stream.sender_report = Some((middle, now_us));
                }
            }
            Err(Refused::Forged) => self.counters.authentication_failures += 1,
            Err(_) => self.counters.foreign_packets += 1,
        }
    }

    /// Writes what is due into `out` as one protected RTCP datagram; leaves it empty if nothing is.
    pub fn tick(&mut self, now_us: u64, rtt_us: Option<u64>, out: &mut Vec<u8>, show: Show<'_>) {
        out.clear();
        if now_us >= self.report_due_us {
            self.report_due_us = now_us + REPORT_US;
            self.write_report(now_us, out);
        }
        self.write_nacks(now_us, rtt_us.unwrap_or(DEFAULT_RTT_US), out, show);
        if now_us >= self.feedback_due_us {
            self.feedback_due_us = now_us + self.feedback_us;
            let media_ssrc = self.video().map_or(0, |stream| stream.ssrc);
            self.arrivals.write(out, self.own_ssrc, media_ssrc);
        }
        self.write_keyframe_request(now_us, out);
        self.protect(out);
    }

    /// Writes a goodbye.
    pub fn leave(&mut self, out: &mut Vec<u8>) {
        out.clear();
        feedback::write_report(out, self.own_ssrc, &[]);
        feedback::write_goodbye(out, self.own_ssrc);
        self.protect(out);
    }

    fn protect(&mut self, out: &mut Vec<u8>) {
        if out.is_empty() {
            return;
        }
        match self.sender.protect_rtcp(out) {
            Ok(()) => self.counters.feedback_sent += 1,
            Err(_) => out.clear(),
        }
    }

    fn write_report(&mut self, now_us: u64, out: &mut Vec<u8>) {
        let (mut blocks, mut count) = ([ReportBlock::default(); MAX_STREAMS], 0);
        for (block, stream) in blocks.iter_mut().zip(&mut self.streams) {
            *block = stream.report(now_us);
            count += 1;
        }
        feedback::write_report(out, self.own_ssrc, &blocks[..count]);
    }

    fn write_nacks(&mut self, now_us: u64, rtt_us: u64, out: &mut Vec<u8>, show: Show<'_>) {
        let Self { streams, assembly, counters, .. } = self;
        for stream in streams.iter_mut().filter(|stream| stream.payload != Payload::Opus) {
            if !stream.sequence.has_holes() {
                continue;
            }
            let before = counters.lost_packets;
            stream.sequence.give_up(now_us, |number| {
                counters.lost_packets += 1;
                if let Some(assembly) = assembly {
                    assembly.lose(number, |whole| show(whole, 0));
                }
            });
            self.keyframe_wanted |= counters.lost_packets > before;
            let mut asked = [0u16; crate::sequence::MAX_ASKED];
            let count = stream.sequence.ask(now_us, rtt_us, &mut asked);
            if count > 0 {
                counters.nacked_packets += count as u64;
                feedback::write_nack(out, self.own_ssrc, stream.ssrc, &asked[..count]);
            }
        }
    }

    /// A viewer that verifies asks until it has a keyframe, one that does not asks once for each loss.
    fn write_keyframe_request(&mut self, now_us: u64, out: &mut Vec<u8>) {
        let Some(ssrc) = self.video().map(|stream| stream.ssrc) else {
            return;
        };
        let wanted = self.keyframe_wanted || self.assembly.as_ref().is_some_and(|assembly| assembly.needs_keyframe());
        if !wanted || self.keyframe_asked_us.is_some_and(|asked| now_us - asked < KEYFRAME_REQUEST_US) {
            return;
        }
        self.keyframe_wanted = false;
        self.keyframe_asked_us = Some(now_us);
        self.counters.keyframe_requests += 1;
        feedback::write_pli(out, self.own_ssrc, ssrc);
    }
}

/// The value begins with the capture time; a clock offset may follow.
fn note_capture_time(value: &[u8], wall_us: u64, measures: &mut Measures) {
    let Some(ntp) = value.first_chunk::<8>() else {
        return;
    };
    let delay_us = wall_us.saturating_sub(unix_us_of_ntp(u64::from_be_bytes(*ntp)));
    if delay_us < MAX_DELAY_US {
        measures.capture_to_arrival.record(delay_us);
    }
}
