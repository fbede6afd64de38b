//! One publisher: what comes on its connection, and what it is told in return.
//!
//! Packets are decrypted, told apart ([`sources`]), put in order and asked for again ([`layer`], [`missing`]) and become
//! pictures ([`reassembly`]) on one timeline ([`timeline`]). The publisher hears what arrived and when ([`arrivals`]).

use std::time::{Duration, Instant};

use farstage_rtp::header::RtpHeader;
use farstage_rtp::packetize::is_entry_point;
use farstage_rtp::rtcp::{
    ReportBlock, Rtcp, SenderInfo, middle_of_ntp, read_compound, write_nack, write_pli, write_receiver_report,
    write_sdes,
};

use crate::clock::unix_us_of_ntp;
use crate::connection::{Connection, Ended, Surroundings};
use crate::events::Event;
use crate::outlet::Outlet;
use crate::reception::Reception;
use crate::sdp::PublishAgreement;

mod arrivals;
mod layer;
mod missing;
mod reassembly;
mod sources;
#[cfg(test)]
mod tests;
mod timeline;

use arrivals::Arrivals;
use layer::Layer;
use reassembly::Assembled;
use sources::{Source, Sources};
use timeline::Timeline;

/// A round trip before any is known.
const FIRST_RTT: Duration = Duration::from_millis(100);
/// A missing packet is waited for at least this long where it can be sent again, and for two round trips and
/// [`BEYOND_ROUND_TRIPS`].
const LEAST_PATIENCE: Duration = Duration::from_millis(150);
const BEYOND_ROUND_TRIPS: Duration = Duration::from_millis(50);
/// A round trip that is longer is not waited for twice.
const MOST_RTT: Duration = Duration::from_secs(1);
/// A packet that cannot be sent again may still have been overtaken.
const PATIENCE_WITHOUT_REPEATS: Duration = Duration::from_millis(50);
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const ARRIVALS_INTERVAL: Duration = Duration::from_millis(50);
/// Packets asked for in one RTCP packet.
const MAX_ASKED: usize = 128;
const CNAME: &[u8] = b"farstage";
const AUDIO_HZ: u64 = 48_000;

/// What a publisher that was answered is to send.
pub struct PublisherSetup {
    /// What SDP settled.
    pub agreement: PublishAgreement,
    /// What our reports are sent under.
    pub ssrc: u32,
}

/// A picture of a publisher, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Its layer: the place in [`PublishAgreement::rids`], 0 without.
    pub layer: usize,
    /// Whether decoding can begin here.
    pub keyframe: bool,
    /// Rises by one with each picture of the layer; the number of one that was lost is left out.
    pub sequence: u32,
    /// RTP time, 90 kHz, unwrapped.
    pub timestamp: u64,
    /// Unix microseconds; rises with each picture of the layer, and is that of the other layers' for one picture.
    pub capture_time_us: i64,
    /// The encoded picture: Annex B for H.264, units with sizes for AV1.
    pub payload: Vec<u8>,
}

/// See the module.
pub struct Publisher {
    /// How it is reached and proves itself.
    pub connection: Connection,
    setup: Box<PublisherSetup>,
    sources: Sources,
    layers: Vec<Layer>,
    timeline: Timeline,
    arrivals: Arrivals,
    sound: Option<Reception>,
    sound_report: Option<(u32, Instant)>,
    rtt: Duration,
    start: Instant,
    next_report: Instant,
    next_arrivals: Instant,
}

impl Publisher {
    /// Its first check came.
    pub fn new(connection: Connection, setup: Box<PublisherSetup>, now: Instant) -> Self {
        let layers = setup.agreement.layers();
        Self {
            connection,
            sources: Sources::default(),
            layers: (0..layers).map(|_| Layer::new(setup.agreement.codec)).collect(),
            timeline: Timeline::new(layers),
            arrivals: Arrivals::default(),
            sound: None,
            sound_report: None,
            rtt: FIRST_RTT,
            start: now,
            next_report: now + REPORT_INTERVAL,
            next_arrivals: now,
            setup,
        }
    }

    /// Number of its session.
    pub fn session(&self) -> u64 {
        self.connection.session()
    }

    /// A DTLS datagram; messages in it are not for us, as no data channel was agreed on.
    pub fn dtls<O: Outlet>(&mut self, datagram: &[u8], around: &mut Surroundings<'_, O>) -> Result<(), Ended> {
        self.connection.dtls(datagram, around).map(drop)
    }

    /// An RTP packet.
    pub fn rtp<O: Outlet>(&mut self, packet: &mut [u8], around: &mut Surroundings<'_, O>) {
        let opened = self.connection.open(around, |receiver| receiver.unprotect_rtp(packet));
        let Some(received) = opened else { return };
        let Ok(header) = RtpHeader::read(packet) else { return };
        self.note_arrival(&header, around.now);
        let agreement = &self.setup.agreement;
        let Some(source) = self.sources.find(&header, agreement) else {
            around.counters.sources_refused += 1;
            return;
        };
        let payload = packet.get(received.payload).unwrap_or_default();
        match source {
            Source::Sound => self.hear(&header, received.index, payload, around),
            Source::Layer(at) => self.see(at, &header, received.index, payload, around),
            Source::Repeats(at) => {
                let told = self.layers.get_mut(at).and_then(|layer| layer.repeated(&header, payload, around.now));
                self.learn_rtt(told);
                self.deliver(at, around);
            }
        }
        self.ask(around);
    }

    fn note_arrival(&mut self, header: &RtpHeader<'_>, now: Instant) {
        let Some(id) = self.setup.agreement.transport_cc else { return };
        if let Some([high, low]) = header.extension(id) {
            let at_us = now.saturating_duration_since(self.start).as_micros() as i64;
            self.arrivals.note(u16::from_be_bytes([*high, *low]), at_us);
        }
    }

    fn hear<O: Outlet>(
        &mut self,
        header: &RtpHeader<'_>,
        index: u64,
        payload: &[u8],
        around: &mut Surroundings<'_, O>,
    ) {
        if payload.is_empty() {
            return;
        }
        let (ssrc, now) = (header.ssrc(), around.now);
        let known = self.sound.take().filter(|sound| sound.ssrc == ssrc);
        let sound = self.sound.insert(known.unwrap_or_else(|| Reception::new(ssrc, AUDIO_HZ, index, now)));
        if sound.arrived(index, header.timestamp(), now) {
            around.events.push(Event::Voice(self.connection.session(), payload.to_vec()));
        }
    }

    fn see<O: Outlet>(
        &mut self,
        at: usize,
        header: &RtpHeader<'_>,
        index: u64,
        payload: &[u8],
        around: &mut Surroundings<'_, O>,
    ) {
        let Some(layer) = self.layers.get_mut(at) else { return };
        if layer.restart_for(header.ssrc()) {
            self.timeline.restart(at);
        }
        let told = layer.arrived(header, index, payload, around.now);
        self.learn_rtt(told);
        self.deliver(at, around);
    }

    fn learn_rtt(&mut self, told: Option<Duration>) {
        if let Some(told) = told {
            self.rtt = (self.rtt * 7 + told.min(MOST_RTT)) / 8;
        }
    }

    /// Tell of the pictures that are whole by now.
    fn deliver<O: Outlet>(&mut self, at: usize, around: &mut Surroundings<'_, O>) {
        let patience = if self.setup.agreement.repeats {
            LEAST_PATIENCE.max(2 * self.rtt + BEYOND_ROUND_TRIPS)
        } else {
            PATIENCE_WITHOUT_REPEATS
        };
        let Some(layer) = self.layers.get_mut(at) else { return };
        let lost_before = layer.reassembly.pictures_lost;
        let whole = layer.pictures(around.now, patience);
        around.counters.pictures_lost += layer.reassembly.pictures_lost - lost_before;
        for picture in whole {
            self.tell(at, picture, around);
        }
    }

    fn tell<O: Outlet>(&mut self, at: usize, picture: Assembled, around: &mut Surroundings<'_, O>) {
        let Some(layer) = self.layers.get_mut(at) else { return };
        let timestamp = layer.unwrap(picture.timestamp);
        let keyframe = is_entry_point(self.setup.agreement.codec, &picture.payload);
        if keyframe {
            layer.want_keyframe(false);
        }
        let arrival_us = unix_us_of_ntp(around.clock.ntp(picture.arrived));
        let picture = Picture {
            layer: at,
            keyframe,
            sequence: picture.sequence,
            timestamp,
            capture_time_us: self.timeline.capture_us(at, timestamp, arrival_us),
            payload: picture.payload,
        };
        around.events.push(Event::Picture(self.connection.session(), picture));
    }

    /// An RTCP packet.
    pub fn rtcp<O: Outlet>(&mut self, packet: &mut [u8], around: &mut Surroundings<'_, O>) {
        let opened = self.connection.open(around, |receiver| receiver.unprotect_rtcp(packet));
        let Some(length) = opened else { return };
        for packet in read_compound(packet.get(..length).unwrap_or_default()) {
            match packet {
                Ok(Rtcp::SenderReport(report)) => self.take_report(&report.info, around.now),
                Ok(_) => {}
                Err(_) => around.counters.rtcp_malformed += 1,
            }
        }
    }

    fn take_report(&mut self, info: &SenderInfo, now: Instant) {
        let report = Some((middle_of_ntp(info.ntp), now));
        match self.sources.of(info.ssrc) {
            Some(Source::Sound) => self.sound_report = report,
            Some(Source::Layer(at)) => {
                if let Some(layer) = self.layers.get_mut(at) {
                    layer.sender_report = report;
                }
                self.timeline.reported(at, unix_us_of_ntp(info.ntp), info.rtp_timestamp);
            }
            Some(Source::Repeats(_)) | None => {}
        }
    }

    /// The publisher is to send a keyframe of this layer. Requests within a short time become one.
    pub fn request_keyframe<O: Outlet>(&mut self, layer: usize, around: &mut Surroundings<'_, O>) {
        if let Some(layer) = self.layers.get_mut(layer) {
            layer.want_keyframe(true);
            self.ask(around);
        }
    }

    /// Let time pass: packets given up, requests, reports, consent. Call each 10 ms or so.
    pub fn tick<O: Outlet>(&mut self, around: &mut Surroundings<'_, O>) -> Result<(), Ended> {
        self.connection.tick(around)?;
        for at in 0..self.layers.len() {
            self.deliver(at, around);
        }
        self.ask(around);
        self.report(around);
        Ok(())
    }

    /// Ask for what is missing: packets and keyframes.
    fn ask<O: Outlet>(&mut self, around: &mut Surroundings<'_, O>) {
        let (own, now) = (self.setup.ssrc, around.now);
        let mut out = Vec::new();
        for layer in &mut self.layers {
            if let Some(ssrc) = layer.keyframe_due(now) {
                write_pli(&mut out, own, ssrc);
            }
            if let Some(ssrc) = layer.ssrc().filter(|_| self.setup.agreement.repeats) {
                write_nack(&mut out, own, ssrc, &layer.missing.take_due(self.rtt, now, MAX_ASKED));
            }
        }
        if !out.is_empty() {
            self.send(&[], &out, around);
        }
    }

    fn report<O: Outlet>(&mut self, around: &mut Surroundings<'_, O>) {
        let now = around.now;
        if now >= self.next_report {
            self.next_report = now + REPORT_INTERVAL;
            let (sound, sound_report) = (&mut self.sound, self.sound_report);
            let sound = sound.as_mut().map(|sound| sound.block(sound_report, now));
            let blocks: Vec<ReportBlock> =
                self.layers.iter_mut().filter_map(|layer| layer.report(now)).chain(sound).collect();
            self.send(&blocks, &[], around);
        }
        if now >= self.next_arrivals {
            self.next_arrivals = now + ARRIVALS_INTERVAL;
            let media = self.layers.iter().find_map(Layer::ssrc).unwrap_or_default();
            let mut out = Vec::new();
            while self.arrivals.write(&mut out, self.setup.ssrc, media) {
                self.send(&[], &out, around);
                out.clear();
            }
        }
    }

    /// A compound as RFC 3550, section 6.1, wants it: a report and our name before anything else.
    fn send<O: Outlet>(&mut self, blocks: &[ReportBlock], feedback: &[u8], around: &mut Surroundings<'_, O>) {
        if !self.connection.is_connected() || !self.connection.consents(around.now) {
            return;
        }
        let mut compound = Vec::with_capacity(64 + feedback.len());
        write_receiver_report(&mut compound, self.setup.ssrc, blocks);
        write_sdes(&mut compound, self.setup.ssrc, CNAME);
        compound.extend_from_slice(feedback);
        self.connection.send_rtcp(compound, around);
    }
}
