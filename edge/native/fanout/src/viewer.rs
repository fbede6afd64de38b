//! One viewer: what comes and goes on its connection, and its place in the stream.

use std::time::{Duration, Instant};

use farstage_rtp::header::RtpHeader;
use farstage_transport::channels::{ChannelEvent, Channels};

use crate::connection::{Connection, Ended, Surroundings};
use crate::events::Event;
use crate::feedback::Feedback;
use crate::layered::LayeredStream;
use crate::layers::LayerSelector;
use crate::outlet::Outlet;
use crate::pacing::Pacer;
use crate::sdp::{Agreement, Ssrcs};
use crate::sender::{AudioSender, VideoSender};

mod choosing;
mod sending;

use sending::Position;
pub use sending::Pumped;

/// What a viewer that was answered is to get.
pub struct ViewerSetup {
    /// Number of the stream it watches.
    pub stream: u64,
    /// What SDP settled.
    pub agreement: Agreement,
    /// What it is sent under.
    pub ssrcs: Ssrcs,
    /// What its line is thought to take before it has told, bits a second.
    pub start_bps: u64,
    /// The playout-delay extension's value.
    pub playout_delay: [u8; 3],
    /// Random.
    pub seed: u64,
}

/// One viewer.
pub struct Viewer {
    /// What was agreed.
    pub setup: Box<ViewerSetup>,
    /// How it is reached and proves itself.
    pub connection: Connection,
    /// What its RTCP told.
    pub feedback: Feedback,
    /// Whether it is in its shard's list of viewers with pictures left to send.
    pub is_behind: bool,
    /// Pictures it was not sent.
    pub frames_skipped: u64,
    /// Times that its picture stood still until a keyframe, as pictures were skipped or lost.
    pub freezes: u64,
    /// Bytes of media sent for the first time, headers included, without UDP and IP.
    pub sent_bytes: u64,
    channels: Option<Channels>,
    video: VideoSender,
    audio: Option<AudioSender>,
    selector: Option<LayerSelector>,
    position: Option<Position>,
    /// RTP time of the newest picture that it was sent a part of.
    newest_sent: Option<u32>,
    keyframe_sent: Option<Instant>,
    pacer: Pacer,
    next_report: Instant,
}

impl Viewer {
    /// Its first check came.
    pub fn new(connection: Connection, setup: Box<ViewerSetup>, now: Instant) -> Self {
        let sequence = |salt: u32| (setup.seed >> salt) as u16 & 0x7FFF;
        let video = VideoSender::new(setup.ssrcs, &setup.agreement.video, setup.playout_delay, sequence(0));
        let audio = setup.agreement.audio.filter(|audio| audio.sends);
        let audio = audio.map(|audio| AudioSender::new(audio.payload, setup.ssrcs.audio, sequence(16)));
        Self {
            connection,
            feedback: Feedback::new(setup.ssrcs, setup.agreement.video.transport_cc.is_some(), setup.start_bps, now),
            is_behind: false,
            frames_skipped: 0,
            freezes: 0,
            sent_bytes: 0,
            channels: None,
            video,
            audio,
            selector: None,
            position: None,
            newest_sent: None,
            keyframe_sent: None,
            pacer: Pacer::new(setup.start_bps, now),
            next_report: now + Duration::from_millis(setup.seed % 1_000),
            setup,
        }
    }

    /// Number of its session.
    pub fn session(&self) -> u64 {
        self.connection.session()
    }

    /// Whether the handshake is complete.
    pub fn is_connected(&self) -> bool {
        self.connection.is_connected()
    }

    /// Whether it has proved lately that it wants to be sent to.
    pub fn consents(&self, now: Instant) -> bool {
        self.connection.consents(now)
    }

    /// A DTLS datagram.
    pub fn dtls<O: Outlet>(&mut self, datagram: &[u8], around: &mut Surroundings<'_, O>) -> Result<(), Ended> {
        let packets = self.connection.dtls(datagram, around)?;
        self.take_sctp(&packets, around)
    }

    fn take_sctp<O: Outlet>(&mut self, packets: &[Vec<u8>], around: &mut Surroundings<'_, O>) -> Result<(), Ended> {
        if packets.is_empty() || !self.setup.agreement.data {
            return Ok(());
        }
        let mut events = Vec::new();
        let channels = self.channels.get_or_insert_with(Channels::new);
        let refused_before = channels.refused();
        for packet in packets {
            channels.handle(packet, around.now, &mut events);
        }
        around.counters.messages_refused += channels.refused() - refused_before;
        self.take_channel_events(events, around)
    }

    fn take_channel_events<O: Outlet>(
        &mut self,
        events: Vec<ChannelEvent>,
        around: &mut Surroundings<'_, O>,
    ) -> Result<(), Ended> {
        let session = self.session();
        for event in events {
            match event {
                ChannelEvent::Transmit(packet) => self.connection.send_message(&packet, around)?,
                ChannelEvent::Opened(label) => around.events.push(Event::ChannelOpened(session, label)),
                ChannelEvent::Message(label, data) => around.events.push(Event::Message(session, label, data)),
                ChannelEvent::Lost => return Err(Ended),
            }
        }
        Ok(())
    }

    /// An RTP packet: the viewer's voice.
    pub fn rtp<O: Outlet>(&mut self, packet: &mut [u8], around: &mut Surroundings<'_, O>) {
        let opened = self.connection.open(around, |receiver| receiver.unprotect_rtp(packet));
        let Some(received) = opened else { return };
        let Ok(header) = RtpHeader::read(packet) else { return };
        let audio = self.setup.agreement.audio.filter(|audio| audio.receives);
        if audio.is_none_or(|audio| audio.payload != header.payload_type()) || received.payload.is_empty() {
            return;
        }
        if self.feedback.voice_arrived(header.ssrc(), received.index, header.timestamp(), around.now)
            && let Some(payload) = packet.get(received.payload)
        {
            around.events.push(Event::Voice(self.session(), payload.to_vec()));
        }
    }

    /// An RTCP packet. Returns whether a keyframe is needed.
    pub fn rtcp<O: Outlet>(
        &mut self,
        packet: &mut [u8],
        stream: Option<&LayeredStream>,
        around: &mut Surroundings<'_, O>,
    ) -> bool {
        let opened = self.connection.open(around, |receiver| receiver.unprotect_rtcp(packet));
        let Some(length) = opened else { return false };
        let plain = packet.get(..length).unwrap_or_default();
        let now_ntp = around.clock.ntp(around.now);
        let asked = self.feedback.take(plain, now_ntp, around.now);
        around.counters.rtcp_malformed += u64::from(asked.malformed);
        if asked.keyframe && self.lost_the_picture(stream, around.now) {
            return true;
        }
        let Some(watched) = stream.filter(|_| !asked.missing.is_empty()) else { return false };
        self.repeat(&asked.missing, watched, around) && self.lost_the_picture(stream, around.now)
    }

    /// A text message for this viewer; lost without such a channel.
    pub fn send_message<O: Outlet>(
        &mut self,
        label: &str,
        text: &[u8],
        around: &mut Surroundings<'_, O>,
    ) -> Result<(), Ended> {
        let Some(channels) = &mut self.channels else { return Ok(()) };
        let mut events = Vec::new();
        if !channels.send_text(label, text, around.now, &mut events) {
            around.counters.messages_refused += 1;
        }
        self.take_channel_events(events, around)
    }

    /// Let time pass: timers of DTLS and SCTP, reports, consent. Call at least each 50 ms or so.
    pub fn tick<O: Outlet>(
        &mut self,
        stream: Option<&LayeredStream>,
        around: &mut Surroundings<'_, O>,
    ) -> Result<(), Ended> {
        let now = around.now;
        let packets = self.connection.tick(around)?;
        self.take_sctp(&packets, around)?;
        self.tick_channels(around)?;
        if self.is_connected() && now >= self.next_report && self.consents(now) {
            self.next_report = now + Duration::from_secs(1);
            self.report(stream, around);
        }
        if let Some(stream) = stream.filter(|_| self.is_connected()) {
            self.choose_layer(stream, now);
            self.set_pace(stream);
            if stream.count() > 1 && self.feedback.rtt.is_some() {
                eprintln!(
                    "TRACE {} s{} est {} shown {} wanted {} drain {} q {} loss {:?} pk {} refused {} freezes {} skipped {}",
                    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() % 10000000,
                    self.session(),
                    self.feedback.estimate_bps(),
                    self.layer(),
                    self.wanted_layer(),
                    self.pacer.is_draining(),
                    self.feedback.queue().as_millis(),
                    self.feedback.loss,
                    self.video.packets,
                    self.feedback.budget.refused,
                    self.freezes,
                    self.frames_skipped
                );
            }
        }
        if let (Some(bytes), Some(stream)) = (self.feedback.wants_probe(), stream) {
            self.probe(bytes, stream, around);
        }
        Ok(())
    }

    fn tick_channels<O: Outlet>(&mut self, around: &mut Surroundings<'_, O>) -> Result<(), Ended> {
        let Some(channels) = &mut self.channels else { return Ok(()) };
        if channels.next_timeout().is_none_or(|at| at > around.now) {
            return Ok(());
        }
        let mut events = Vec::new();
        channels.handle_timeout(around.now, &mut events);
        self.take_channel_events(events, around)
    }

    fn report<O: Outlet>(&mut self, stream: Option<&LayeredStream>, around: &mut Surroundings<'_, O>) {
        let shown = stream.map(|stream| stream.layer(self.layer()));
        self.feedback.set_stream_rate(stream.map_or(0, LayeredStream::top_bps));
        let newest = shown.and_then(|shown| shown.frame(shown.newest()));
        let video = newest.filter(|_| self.video.packets > 0);
        let compound = self.feedback.compound(around.now, around.clock, &self.video, video, self.audio.as_ref());
        if let Some(packet) = compound {
            self.connection.send_rtcp(packet, around);
        }
    }

    /// RTP time of the newest picture that a part of was sent.
    pub fn newest_sent(&self) -> Option<u32> {
        self.newest_sent
    }

    /// Packets sent for the first time.
    pub fn packets_sent(&self) -> u64 {
        self.video.packets
    }
}
