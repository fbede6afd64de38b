//! One viewer as a browser is one: ICE checks, DTLS, SRTP and RTCP; sans-IO, time passed in.

mod feedback;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use farstage_fanout::outlet::Path;
use farstage_rtp::header::{DatagramKind, Extension, HeaderFields, RtpHeader, classify, header_len, write_header};
use farstage_rtp::rtcp::{ReportBlock, Rtcp, SenderInfo, read_compound};
use farstage_rtp::srtp::{MasterKey, Profile, Refused, SrtpReceiver, SrtpSender};
use farstage_transport::dtls::{DtlsConfig, DtlsEvent, DtlsPeer, DtlsSettings, Identity, Role, SrtpKeys};
use farstage_transport::stun::{self, BindingRequest, Class, IceRole, IntegrityKey, TransactionId};

use super::channel_peer::ChannelPeer;
use super::offering::{Offering, TRANSPORT_CC_ID};

/// How often a browser checks a pair that works.
const CHECK_INTERVAL: Duration = Duration::from_millis(2_500);
/// SSRC of the viewer's own RTCP and voice.
pub const OWN_SSRC: u32 = 0x0BAD_CAFE;

/// SHA-256 of the certificate that clients show.
pub fn fingerprint() -> [u8; 32] {
    config().fingerprint()
}

fn config() -> DtlsConfig {
    let identity = Identity {
        certificate: include_bytes!("../../../transport/testdata/second_certificate.der").to_vec(),
        private_key: include_bytes!("../../../transport/testdata/second_key.der").to_vec(),
    };
    DtlsConfig::new(identity, &DtlsSettings::default()).expect("the test identity is good")
}

/// What an answer says, as far as tests look at it.
#[derive(Clone, Debug)]
pub struct Answer {
    pub text: String,
    pub ufrag: String,
    pub password: String,
    pub fingerprint: [u8; 32],
    pub active: bool,
    /// 0 where the edge sends none.
    pub video_ssrc: u32,
    pub rtx_ssrc: Option<u32>,
    pub audio_ssrc: Option<u32>,
}

impl Answer {
    /// Reads an answer of the edge.
    pub fn parse(text: &str) -> Self {
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let digest = value("a=fingerprint:sha-256 ").expect("a fingerprint");
        let digest: Vec<u8> =
            digest.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")).collect();
        let ssrcs = |media: &str| -> Vec<u32> {
            let section = text.split("m=").find(|section| section.starts_with(media)).unwrap_or_default();
            let mut numbers: Vec<u32> = section
                .lines()
                .filter_map(|line| line.strip_prefix("a=ssrc:")?.split(' ').next()?.parse().ok())
                .collect();
            numbers.dedup();
            numbers
        };
        let video = ssrcs("video");
        Self {
            text: text.to_owned(),
            ufrag: value("a=ice-ufrag:").expect("a user name fragment"),
            password: value("a=ice-pwd:").expect("a password"),
            fingerprint: digest.try_into().expect("32 bytes"),
            active: value("a=setup:").as_deref() == Some("active"),
            video_ssrc: video.first().copied().unwrap_or_default(),
            rtx_ssrc: video.get(1).copied(),
            audio_ssrc: ssrcs("audio").first().copied(),
        }
    }
}

/// An RTP packet that was decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    pub at: Instant,
    pub ssrc: u32,
    pub payload_type: u8,
    pub sequence: u16,
    /// The sequence number with its rollovers.
    pub index: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub payload: Vec<u8>,
    /// As it came.
    pub datagram: Vec<u8>,
}

impl Media {
    /// The value of a header extension.
    pub fn extension(&self, id: u8) -> Option<&[u8]> {
        self.extensions.iter().find(|(own, _)| *own == id).map(|(_, value)| value.as_slice())
    }

    /// The transport-wide number.
    pub fn transport(&self) -> Option<u16> {
        self.extension(TRANSPORT_CC_ID).map(|value| u16::from_be_bytes([value[0], value[1]]))
    }

    /// Of a repeat: the number of the packet that is repeated, and its payload.
    pub fn original(&self) -> (u16, &[u8]) {
        (u16::from_be_bytes([self.payload[0], self.payload[1]]), &self.payload[2..])
    }
}

/// A line of a fixed rate before the viewer, for the times at which it says that packets arrived.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub bits_per_s: u64,
    /// When the last packet is through, microseconds since the start.
    pub free_us: u64,
}

/// See the module.
pub struct Client {
    pub session: u64,
    /// Where it sends from.
    pub path: Path,
    /// Where it hears.
    pub listens: Vec<Path>,
    pub offering: Offering,
    pub answer: Answer,
    /// A viewer that has vanished neither hears nor sends.
    pub online: bool,
    pub connected: bool,
    /// The edge has said goodbye.
    pub closed: bool,
    /// Time between checks; `None` for none but those that a test sends.
    pub checks_every: Option<Duration>,
    pub video: Vec<Media>,
    pub repeats: Vec<Media>,
    pub audio: Vec<Media>,
    /// Datagrams that came twice.
    pub replayed: Vec<Vec<u8>>,
    /// Datagrams that could not be decrypted.
    pub undecryptable: usize,
    /// Datagrams that came while it was away.
    pub unheard: Vec<(Instant, Vec<u8>)>,
    /// RTCP, decrypted.
    pub reports: Vec<Vec<u8>>,
    /// Success responses to checks: the address that they name.
    pub check_answers: Vec<SocketAddr>,
    pub channels: Option<ChannelPeer>,
    /// Transport-wide numbers and their arrivals that were not reported yet, in the order of arrival.
    pub arrivals: Vec<(u16, u64)>,
    pub line: Option<Line>,
    start: Instant,
    dtls: DtlsPeer,
    keys: Option<(SrtpSender, SrtpReceiver)>,
    profile: Option<Profile>,
    buffer: Vec<u8>,
    outgoing: Vec<(Path, Vec<u8>)>,
    dtls_wake: Instant,
    next_check: Instant,
    checks: u64,
    feedback_count: u8,
}

impl Client {
    /// A viewer that has its answer and has sent nothing yet.
    pub fn new(session: u64, path: Path, offering: Offering, answer: &str, now: Instant) -> Self {
        let answer = Answer::parse(answer);
        let role = if answer.active { Role::Server } else { Role::Client };
        Self {
            session,
            path,
            listens: vec![path],
            online: true,
            connected: false,
            closed: false,
            checks_every: Some(CHECK_INTERVAL),
            video: Vec::new(),
            repeats: Vec::new(),
            audio: Vec::new(),
            replayed: Vec::new(),
            undecryptable: 0,
            unheard: Vec::new(),
            reports: Vec::new(),
            check_answers: Vec::new(),
            channels: offering.data.then(ChannelPeer::new),
            arrivals: Vec::new(),
            line: None,
            start: now,
            dtls: DtlsPeer::new(role, &config(), answer.fingerprint, now),
            keys: None,
            profile: None,
            buffer: Vec::new(),
            outgoing: Vec::new(),
            dtls_wake: now,
            next_check: now,
            checks: 0,
            feedback_count: 0,
            offering,
            answer,
        }
    }

    // --- time ---

    /// When [`Self::tick`] is due.
    pub fn next_wake(&self) -> Option<Instant> {
        let checks = self.checks_every.map(|_| self.next_check);
        let dtls = (!self.check_answers.is_empty() && !self.closed).then_some(self.dtls_wake);
        let channels = self.channels.as_ref().filter(|_| self.connected).and_then(ChannelPeer::next_timeout);
        [checks, dtls, channels].into_iter().flatten().min().filter(|_| self.online)
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        if !self.online {
            return;
        }
        if let Some(interval) = self.checks_every
            && self.next_check <= now
        {
            self.next_check = now + interval;
            self.check(self.path, true);
        }
        // DTLS starts once ICE has shown a way, as in a browser.
        if !self.check_answers.is_empty() && !self.closed && self.dtls_wake <= now {
            let _ = self.dtls.handle_timeout(now);
            self.drain_dtls(now);
        }
        if let Some(channels) = &mut self.channels {
            channels.handle_timeout(now);
        }
        self.flush_channels(now);
    }

    /// Datagrams to send now.
    pub fn take_outgoing(&mut self) -> Vec<(Path, Vec<u8>)> {
        std::mem::take(&mut self.outgoing)
    }

    // --- what comes in ---

    /// A datagram came.
    pub fn receive(&mut self, datagram: &[u8], now: Instant) {
        if !self.online {
            self.unheard.push((now, datagram.to_vec()));
            return;
        }
        match classify(datagram) {
            DatagramKind::Stun => self.take_check_answer(datagram),
            DatagramKind::Dtls => {
                let _ = self.dtls.handle(datagram, now);
                self.drain_dtls(now);
            }
            DatagramKind::Rtp => self.take_rtp(datagram, now),
            DatagramKind::Rtcp => self.take_rtcp(datagram),
            DatagramKind::Other => self.undecryptable += 1,
        }
    }

    fn take_check_answer(&mut self, datagram: &[u8]) {
        let message = stun::parse(datagram).expect("the edge sends good STUN");
        assert!(message.verify(&IntegrityKey::new(self.answer.password.as_bytes())));
        if message.class == Class::Success {
            self.check_answers.push(message.mapped_address.expect("a success names the address"));
        }
    }

    fn drain_dtls(&mut self, now: Instant) {
        let mut packets = Vec::new();
        loop {
            match self.dtls.poll(&mut self.buffer) {
                Ok(DtlsEvent::Transmit(datagram)) => self.outgoing.push((self.path, datagram.to_vec())),
                Ok(DtlsEvent::Keys(keys)) => self.take_keys(&keys),
                Ok(DtlsEvent::Connected) => self.connected = true,
                Ok(DtlsEvent::ApplicationData(data)) => packets.push(data.to_vec()),
                Ok(DtlsEvent::Closed) => self.closed = true,
                Ok(DtlsEvent::WakeAt(at)) => {
                    self.dtls_wake = at;
                    break;
                }
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
        if let Some(channels) = &mut self.channels {
            packets.iter().for_each(|packet| channels.handle(packet, now));
        }
        self.flush_channels(now);
    }

    fn take_keys(&mut self, keys: &SrtpKeys) {
        let (outbound, inbound) = (keys.outbound(), keys.inbound());
        let (outbound, inbound) = (outbound.expect("right lengths"), inbound.expect("right lengths"));
        let profile = keys.profile;
        self.keys = Some((SrtpSender::new(profile, &outbound), SrtpReceiver::new(profile, &inbound)));
        self.profile = Some(profile);
    }

    fn take_rtp(&mut self, datagram: &[u8], now: Instant) {
        let Some((_, receiver)) = &mut self.keys else {
            self.undecryptable += 1;
            return;
        };
        let mut packet = datagram.to_vec();
        let received = match receiver.unprotect_rtp(&mut packet) {
            Ok(received) => received,
            Err(Refused::Replayed) => return self.replayed.push(datagram.to_vec()),
            Err(_) => {
                self.undecryptable += 1;
                return;
            }
        };
        let header = RtpHeader::read(&packet).expect("an authentic packet has a header");
        let media = Media {
            at: now,
            ssrc: header.ssrc(),
            payload_type: header.payload_type(),
            sequence: header.sequence(),
            index: received.index,
            timestamp: header.timestamp(),
            marker: header.marker(),
            extensions: header.extensions().map(|element| (element.id, element.value.to_vec())).collect(),
            payload: packet[received.payload].to_vec(),
            datagram: datagram.to_vec(),
        };
        self.note_arrival(&media, now);
        match media.ssrc {
            ssrc if ssrc == self.answer.video_ssrc => self.video.push(media),
            ssrc if Some(ssrc) == self.answer.rtx_ssrc => self.repeats.push(media),
            ssrc if Some(ssrc) == self.answer.audio_ssrc => self.audio.push(media),
            ssrc => panic!("a stream of SSRC {ssrc} that the answer does not name"),
        }
    }

    fn note_arrival(&mut self, media: &Media, now: Instant) {
        let Some(number) = media.transport() else { return };
        let mut at_us = now.duration_since(self.start).as_micros() as u64;
        if let Some(line) = &mut self.line {
            let service_us = media.datagram.len() as u64 * 8_000_000 / line.bits_per_s;
            line.free_us = line.free_us.max(at_us) + service_us;
            at_us = line.free_us;
        }
        self.arrivals.push((number, at_us));
    }

    fn take_rtcp(&mut self, datagram: &[u8]) {
        let Some((_, receiver)) = &mut self.keys else {
            self.undecryptable += 1;
            return;
        };
        let mut packet = datagram.to_vec();
        match receiver.unprotect_rtcp(&mut packet) {
            Ok(length) => self.reports.push(packet[..length].to_vec()),
            Err(_) => self.undecryptable += 1,
        }
    }

    /// The sender reports about one SSRC that came, oldest first.
    pub fn sender_reports(&self, ssrc: u32) -> Vec<SenderInfo> {
        let own = |packet| match packet {
            Ok(Rtcp::SenderReport(report)) if report.info.ssrc == ssrc => Some(report.info),
            _ => None,
        };
        self.reports.iter().flat_map(|report| read_compound(report)).filter_map(own).collect()
    }

    /// What the edge reported about our voice, oldest first.
    pub fn voice_reports(&self) -> Vec<ReportBlock> {
        let blocks = |packet| match packet {
            Ok(Rtcp::SenderReport(report)) => report.blocks().collect(),
            Ok(Rtcp::ReceiverReport(report)) => report.blocks().collect(),
            _ => Vec::new(),
        };
        self.reports.iter().flat_map(|report| read_compound(report)).flat_map(blocks).collect()
    }

    // --- what goes out ---

    /// A connectivity check by a path; with `nominate` the edge is to use it.
    pub fn check(&mut self, path: Path, nominate: bool) {
        let request = self.check_request(nominate);
        self.outgoing.push((path, request));
    }

    /// The bytes of a new connectivity check.
    pub fn check_request(&mut self, nominate: bool) -> Vec<u8> {
        let username = format!("{}:{}", self.answer.ufrag, self.offering.ufrag);
        self.signed_request(&username, &self.answer.password.clone(), nominate)
    }

    /// The bytes of a check with another name or password.
    pub fn signed_request(&mut self, username: &str, password: &str, nominate: bool) -> Vec<u8> {
        self.checks += 1;
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.checks.to_be_bytes());
        id[8..].copy_from_slice(&(self.session as u32).to_be_bytes());
        let request = BindingRequest {
            transaction_id: TransactionId(id),
            username: username.as_bytes(),
            priority: 1_853_824_767,
            role: IceRole::Controlling(7),
            use_candidate: nominate,
        };
        let mut out = Vec::new();
        stun::write_binding_request(&mut out, &request, &IntegrityKey::new(password.as_bytes()));
        out
    }

    /// Moves to another address: sends from there and hears there too.
    pub fn move_to(&mut self, path: Path) {
        self.path = path;
        self.listens.push(path);
        self.check(path, true);
    }

    /// Sends a packet of the microphone.
    pub fn speak(&mut self, sequence: u16, timestamp: u32, payload_type: u8, opus_frame: &[u8]) {
        let packet = self.voice_packet(sequence, timestamp, payload_type, opus_frame);
        self.outgoing.push((self.path, packet));
    }

    /// The bytes of a packet of the microphone, encrypted.
    pub fn voice_packet(&mut self, sequence: u16, timestamp: u32, payload_type: u8, opus_frame: &[u8]) -> Vec<u8> {
        let fields = HeaderFields { marker: false, payload_type, sequence, timestamp, ssrc: OWN_SSRC };
        let (sender, _) = self.keys.as_ref().expect("a connected viewer");
        let mut packet = vec![0; 12 + opus_frame.len() + sender.profile().rtp_tag_len()];
        write_header(&mut packet, &fields, &[]).expect("room for the header");
        packet[12..12 + opus_frame.len()].copy_from_slice(opus_frame);
        sender.protect_rtp(0, &mut packet, 12).expect("room for the tag");
        packet
    }

    /// Sends an RTP packet, encrypted. `sequence` has its rollovers.
    pub fn rtp(&mut self, fields: HeaderFields, sequence: u64, extensions: &[Extension<'_>], payload: &[u8]) {
        let packet = self.rtp_packet(fields, sequence, extensions, payload);
        self.outgoing.push((self.path, packet));
    }

    /// The bytes of an RTP packet, encrypted.
    pub fn rtp_packet(
        &mut self,
        fields: HeaderFields,
        sequence: u64,
        extensions: &[Extension<'_>],
        payload: &[u8],
    ) -> Vec<u8> {
        let (sender, _) = self.keys.as_ref().expect("a connected client");
        let header = header_len(extensions);
        let mut packet = vec![0; header + payload.len() + sender.profile().rtp_tag_len()];
        write_header(&mut packet, &HeaderFields { sequence: sequence as u16, ..fields }, extensions).expect("room");
        packet[header..header + payload.len()].copy_from_slice(payload);
        sender.protect_rtp((sequence >> 16) as u32, &mut packet, header).expect("room for the tag");
        packet
    }

    /// Sends anything from where it is.
    pub fn send(&mut self, datagram: Vec<u8>) {
        self.outgoing.push((self.path, datagram));
    }

    /// Starts DTLS without waiting for ICE.
    pub fn start_dtls(&mut self, now: Instant) {
        let _ = self.dtls.handle_timeout(now);
        self.drain_dtls(now);
    }

    /// Says goodbye (`close_notify`).
    pub fn close(&mut self, now: Instant) {
        self.dtls.close().expect("an open connection");
        self.drain_dtls(now);
    }

    /// Sends what the data channels have to send.
    pub fn flush_channels(&mut self, now: Instant) {
        if !self.connected || self.closed {
            return;
        }
        let Some(channels) = &mut self.channels else { return };
        for packet in channels.transmit(now) {
            let _ = self.dtls.send_application_data(&packet);
        }
        while let Ok(DtlsEvent::Transmit(datagram)) = self.dtls.poll(&mut self.buffer) {
            self.outgoing.push((self.path, datagram.to_vec()));
        }
    }
}
