//! One viewer: its connection from the first connectivity check to the end, and its place in the stream.
//!
//! ICE is lite (RFC 8445, section 2.5): the viewer checks, the edge answers from the address that was checked and never
//! sends anywhere else. DTLS starts when a check has proved the viewer's password, so nothing is sent to strangers.

use std::time::{Duration, Instant};

use farstage_rtp::header::RtpHeader;
use farstage_rtp::srtp::{SrtpReceiver, SrtpSender};
use farstage_transport::channels::{ChannelEvent, Channels};
use farstage_transport::dtls::{DtlsConfig, DtlsError, DtlsEvent, DtlsPeer, Role, SrtpKeys};
use farstage_transport::stun;

use crate::clock::WireClock;
use crate::events::{Counters, Event};
use crate::feedback::Feedback;
use crate::ice::IceCredentials;
use crate::layered::LayeredStream;
use crate::layers::LayerSelector;
use crate::outlet::{Outlet, Path};
use crate::pacing::Pacer;
use crate::sdp::{Agreement, Ssrcs};
use crate::sender::{AudioSender, VideoSender};
use crate::stream::Stream;

mod choosing;
mod sending;

use sending::Position;
pub use sending::Pumped;

/// Nothing is sent to a viewer that has proved nothing for this long (RFC 7675 asks for a bound; browsers report each
/// second).
const CONSENT: Duration = Duration::from_millis(4_500);
/// A viewer that has proved nothing for this long is gone.
const GONE_AFTER: Duration = Duration::from_secs(20);

/// A viewer that was answered and has not come yet.
pub struct ViewerSetup {
    /// Number of its session.
    pub session: u64,
    /// Number of the stream it watches.
    pub stream: u64,
    /// What SDP settled.
    pub agreement: Agreement,
    /// What it is sent under.
    pub ssrcs: Ssrcs,
    /// By what its checks are known.
    pub ice: IceCredentials,
    /// SHA-256 of its certificate.
    pub remote_fingerprint: [u8; 32],
    /// What its line is thought to take before it has told, bits a second.
    pub start_bps: u64,
    /// The playout-delay extension's value.
    pub playout_delay: [u8; 3],
    /// Random.
    pub seed: u64,
    /// It must have come by then.
    pub deadline: Instant,
}

/// What handling a viewer needs of its surroundings.
pub struct Surroundings<'a, O: Outlet> {
    /// Now.
    pub now: Instant,
    /// For what goes on the wire.
    pub clock: &'a WireClock,
    /// Where packets leave.
    pub out: &'a mut O,
    /// What is told.
    pub events: &'a mut Vec<Event>,
    /// What was refused.
    pub counters: &'a mut Counters,
    /// For DTLS output.
    pub scratch: &'a mut Vec<u8>,
}

/// Why a viewer cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended;

struct Keys {
    sender: SrtpSender,
    receiver: SrtpReceiver,
}

/// One viewer.
pub struct Viewer {
    /// What was agreed.
    pub setup: Box<ViewerSetup>,
    /// Where it is reached.
    pub path: Path,
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
    /// What ICE restarts with, until a check has come by it.
    restarting: Option<IceCredentials>,
    dtls: DtlsPeer,
    keys: Option<Keys>,
    channels: Option<Channels>,
    video: VideoSender,
    audio: Option<AudioSender>,
    selector: Option<LayerSelector>,
    position: Option<Position>,
    /// RTP time of the newest picture that it was sent a part of.
    newest_sent: Option<u32>,
    keyframe_sent: Option<Instant>,
    pacer: Pacer,
    connected: bool,
    last_heard: Instant,
    wake_at: Option<Instant>,
    next_report: Instant,
}

impl Viewer {
    /// Its first check came, by `path`.
    pub fn new(setup: Box<ViewerSetup>, path: Path, dtls: &DtlsConfig, now: Instant) -> Self {
        let role = if setup.agreement.starts_dtls { Role::Client } else { Role::Server };
        let sequence = |salt: u32| (setup.seed >> salt) as u16 & 0x7FFF;
        let video = VideoSender::new(setup.ssrcs, &setup.agreement.video, setup.playout_delay, sequence(0));
        let audio = setup.agreement.audio.filter(|audio| audio.sends);
        let audio = audio.map(|audio| AudioSender::new(audio.payload, setup.ssrcs.audio, sequence(16)));
        Self {
            dtls: DtlsPeer::new(role, dtls, setup.remote_fingerprint, now),
            feedback: Feedback::new(setup.ssrcs, setup.agreement.video.transport_cc.is_some(), setup.start_bps, now),
            path,
            is_behind: false,
            frames_skipped: 0,
            freezes: 0,
            sent_bytes: 0,
            restarting: None,
            keys: None,
            channels: None,
            video,
            audio,
            selector: None,
            position: None,
            newest_sent: None,
            keyframe_sent: None,
            pacer: Pacer::new(setup.start_bps, now),
            connected: false,
            last_heard: now,
            wake_at: Some(now),
            next_report: now + Duration::from_millis(setup.seed % 1_000),
            setup,
        }
    }

    /// Whether the handshake is complete.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether it has proved lately that it wants to be sent to.
    pub fn consents(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_heard) <= CONSENT
    }

    /// A connectivity check with the right fragment came by `from`. Returns whether it was genuine.
    pub fn check<O: Outlet>(
        &mut self,
        message: &stun::Message<'_>,
        from: Path,
        around: &mut Surroundings<'_, O>,
    ) -> bool {
        if self.restarting.as_ref().is_some_and(|restarting| restarting.prove(message)) {
            self.finish_restart();
        } else if !self.setup.ice.prove(message) {
            return false;
        }
        let key = &self.setup.ice.local_key;
        around.scratch.clear();
        let id = message.transaction_id;
        if message.unknown_required.is_empty() {
            stun::write_binding_success(around.scratch, id, from.address(), key);
        } else {
            let unknown = message.unknown_required.types();
            stun::write_binding_error(around.scratch, id, 420, unknown, Some(key));
        }
        around.out.datagram(from, around.scratch);
        self.last_heard = around.now;
        if message.use_candidate {
            self.path = from;
        }
        true
    }

    /// ICE restarts: checks are also known by these credentials, and by these alone from the first genuine one on.
    pub fn restart(&mut self, ice: IceCredentials) {
        if ice.local_ufrag != self.setup.ice.local_ufrag {
            self.restarting = Some(ice);
        }
    }

    fn finish_restart(&mut self) {
        if let Some(ice) = self.restarting.take() {
            self.setup.ice = ice;
        }
    }

    /// Our user name fragments by which its checks are known.
    pub fn ufrags(&self) -> impl Iterator<Item = &str> {
        let restarting = self.restarting.as_ref().map(|restarting| restarting.local_ufrag.as_str());
        std::iter::once(self.setup.ice.local_ufrag.as_str()).chain(restarting)
    }

    /// A DTLS datagram.
    pub fn dtls<O: Outlet>(&mut self, datagram: &[u8], around: &mut Surroundings<'_, O>) -> Result<(), Ended> {
        let handled = self.dtls.handle(datagram, around.now);
        self.drain_dtls(handled, around)
    }

    fn drain_dtls<O: Outlet>(
        &mut self,
        handled: Result<(), DtlsError>,
        around: &mut Surroundings<'_, O>,
    ) -> Result<(), Ended> {
        if handled.is_err() {
            around.counters.dtls_failed += u64::from(!self.connected);
            return Err(Ended);
        }
        let mut packets: Vec<Vec<u8>> = Vec::new();
        let may_send = self.consents(around.now);
        loop {
            match self.dtls.poll(around.scratch) {
                Ok(DtlsEvent::Transmit(datagram)) if may_send => {
                    around.out.datagram(self.path, datagram);
                }
                Ok(DtlsEvent::Transmit(_)) => {}
                Ok(DtlsEvent::Keys(keys)) => self.keys = Some(make_keys(&keys).ok_or(Ended)?),
                Ok(DtlsEvent::Connected) => {
                    self.connected = true;
                    self.last_heard = around.now;
                    around.events.push(Event::Connected(self.setup.session));
                }
                Ok(DtlsEvent::ApplicationData(data)) => packets.push(data.to_vec()),
                Ok(DtlsEvent::Closed) => return Err(Ended),
                Ok(DtlsEvent::WakeAt(at)) => {
                    self.wake_at = Some(at);
                    break;
                }
                Err(_) => {
                    around.counters.dtls_failed += u64::from(!self.connected);
                    return Err(Ended);
                }
            }
        }
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
        let session = self.setup.session;
        for event in events {
            match event {
                ChannelEvent::Transmit(packet) => {
                    self.dtls.send_application_data(&packet).map_err(|_| Ended)?;
                    self.flush_dtls(around)?;
                }
                ChannelEvent::Opened(label) => around.events.push(Event::ChannelOpened(session, label)),
                ChannelEvent::Message(label, data) => around.events.push(Event::Message(session, label, data)),
                ChannelEvent::Lost => return Err(Ended),
            }
        }
        Ok(())
    }

    fn flush_dtls<O: Outlet>(&mut self, around: &mut Surroundings<'_, O>) -> Result<(), Ended> {
        let may_send = self.consents(around.now);
        loop {
            match self.dtls.poll(around.scratch).map_err(|_| Ended)? {
                DtlsEvent::Transmit(datagram) if may_send => {
                    around.out.datagram(self.path, datagram);
                }
                DtlsEvent::WakeAt(at) => {
                    self.wake_at = Some(at);
                    return Ok(());
                }
                DtlsEvent::Closed => return Err(Ended),
                _ => {}
            }
        }
    }

    /// An RTP packet: the viewer's voice.
    pub fn rtp<O: Outlet>(&mut self, packet: &mut [u8], around: &mut Surroundings<'_, O>) {
        let Some(keys) = &mut self.keys else { return };
        let received = match keys.receiver.unprotect_rtp(packet) {
            Ok(received) => received,
            Err(_) => {
                around.counters.srtp_refused += 1;
                return;
            }
        };
        self.last_heard = around.now;
        let Ok(header) = RtpHeader::read(packet) else { return };
        let audio = self.setup.agreement.audio.filter(|audio| audio.receives);
        if audio.is_none_or(|audio| audio.payload != header.payload_type()) || received.payload.is_empty() {
            return;
        }
        if self.feedback.voice_arrived(header.ssrc(), received.index, header.timestamp(), around.now)
            && let Some(payload) = packet.get(received.payload)
        {
            around.events.push(Event::Voice(self.setup.session, payload.to_vec()));
        }
    }

    /// An RTCP packet. Returns whether a keyframe is needed.
    pub fn rtcp<O: Outlet>(
        &mut self,
        packet: &mut [u8],
        stream: Option<&LayeredStream>,
        around: &mut Surroundings<'_, O>,
    ) -> bool {
        let Some(keys) = &mut self.keys else { return false };
        let Ok(length) = keys.receiver.unprotect_rtcp(packet) else {
            around.counters.srtp_refused += 1;
            return false;
        };
        self.last_heard = around.now;
        let plain = packet.get(..length).unwrap_or_default();
        let now_ntp = around.clock.ntp(around.now);
        let asked = self.feedback.take(plain, now_ntp, around.now);
        around.counters.rtcp_malformed += u64::from(asked.malformed);
        let lost = asked.keyframe && self.lost_the_picture(stream, around.now);
        if let Some(stream) = stream.filter(|_| !lost) {
            self.repeat(&asked.missing, stream, around);
        }
        lost
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
        if now.saturating_duration_since(self.last_heard) > GONE_AFTER {
            return Err(Ended);
        }
        if !self.connected && now >= self.setup.deadline {
            return Err(Ended);
        }
        if self.wake_at.is_some_and(|at| at <= now) {
            self.wake_at = None;
            let handled = self.dtls.handle_timeout(now);
            self.drain_dtls(handled, around)?;
        }
        self.tick_channels(around)?;
        if self.connected && now >= self.next_report && self.consents(now) {
            self.next_report = now + Duration::from_secs(1);
            self.report(stream, around);
        }
        if let Some(stream) = stream.filter(|_| self.connected) {
            self.choose_layer(stream, now);
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
        let shown_bps = shown.map_or(0, Stream::bits_per_s);
        self.feedback.set_stream_rate(stream.map_or(0, LayeredStream::top_bps));
        self.pacer.set_rate(self.feedback.estimate_bps().max(shown_bps));
        let Some(keys) = &mut self.keys else { return };
        let newest = shown.and_then(|shown| shown.frame(shown.newest()));
        let video = newest.filter(|_| self.video.packets > 0);
        let compound = self.feedback.compound(around.now, around.clock, &self.video, video, self.audio.as_ref());
        let Some(mut packet) = compound else { return };
        if keys.sender.protect_rtcp(&mut packet).is_ok() {
            around.out.datagram(self.path, &packet);
        }
    }

    /// Say goodbye.
    pub fn close<O: Outlet>(&mut self, around: &mut Surroundings<'_, O>) {
        if self.dtls.close().is_ok() && self.connected {
            let _ = self.flush_dtls(around);
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

fn make_keys(keys: &SrtpKeys) -> Option<Keys> {
    let (outbound, inbound) = (keys.outbound().ok()?, keys.inbound().ok()?);
    let profile = keys.profile;
    Some(Keys { sender: SrtpSender::new(profile, &outbound), receiver: SrtpReceiver::new(profile, &inbound) })
}
