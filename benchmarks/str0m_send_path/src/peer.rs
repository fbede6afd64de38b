//! One end of a connection in memory: a str0m `Rtc`, its address, and the datagrams it has for the other end.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::format::Codec;
use str0m::media::{MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpWrite, Ssrc};
use str0m::{Candidate, Event, Input, Output, Rtc};

const CONNECT_STEP: Duration = Duration::from_millis(5);
const CONNECT_STEPS: usize = 2000;

/// One end of a connection.
pub struct Peer {
    rtc: Rtc,
    address: SocketAddr,
    now: Instant,
    outbox: VecDeque<Vec<u8>>,
    rtp_sent: usize,
    connected: bool,
    payload_type: Pt,
    ssrc: Ssrc,
    sequence: u64,
}

impl Peer {
    fn new(address: &str, lite: bool, now: Instant) -> Self {
        let rtc = Rtc::builder().set_rtp_mode(true).set_ice_lite(lite).clear_codecs().enable_h264(true).build(now);
        let h264 = rtc.codec_config().find(|format| format.spec().codec == Codec::H264).map(|format| format.pt());
        let mut peer = Self {
            rtc,
            address: address.parse().expect("a literal address"),
            now,
            outbox: VecDeque::new(),
            rtp_sent: 0,
            connected: false,
            payload_type: h264.expect("H.264 is enabled"),
            ssrc: 1.into(),
            sequence: 1,
        };
        peer.rtc.add_local_candidate(Candidate::host(peer.address, "udp").expect("a host address"));
        peer.drain();
        peer
    }

    /// When this end was last told the time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Write a frame's packets, each drained as str0m demands, and return how many RTP packets came out.
    pub fn send_frame(&mut self, payloads: &[Arc<[u8]>], now: Instant) -> usize {
        let before = self.rtp_sent;
        let timestamp = (self.sequence * 3000) as u32;
        for (number, payload) in payloads.iter().enumerate() {
            let packet = RtpWrite::new(self.payload_type, self.sequence.into(), timestamp, now, payload.clone())
                .marker(number + 1 == payloads.len())
                .nackable(true);
            self.rtc.direct_api().stream_tx(&self.ssrc).expect("declared when connecting").write_rtp(packet);
            self.sequence += 1;
            self.drain();
        }
        self.tell_time(now);
        self.rtp_sent - before
    }

    fn tell_time(&mut self, now: Instant) {
        self.now = now;
        self.rtc.handle_input(Input::Timeout(now)).expect("time may always pass");
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().expect("the connection lives") {
                Output::Transmit(datagram) if is_rtp(&datagram.contents) => self.rtp_sent += 1,
                Output::Transmit(datagram) => self.outbox.push_back(datagram.contents.into()),
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(_) => {}
                Output::Timeout(_) => return,
            }
        }
    }

    fn receive(&mut self, datagram: &[u8], source: SocketAddr) {
        let received = Receive::new(Protocol::Udp, source, self.address, datagram).expect("a datagram of a peer");
        self.rtc.handle_input(Input::Receive(self.now, received)).expect("a datagram of a peer");
        self.drain();
    }

    fn meet(&mut self, other: &mut Self, active: bool) {
        self.rtc.add_remote_candidate(Candidate::host(other.address, "udp").expect("a host address"));
        self.drain();
        let credentials = other.rtc.direct_api().local_ice_credentials();
        let fingerprint = other.rtc.direct_api().local_dtls_fingerprint().clone();
        let mut api = self.rtc.direct_api();
        api.set_ice_controlling(active);
        api.set_remote_ice_credentials(credentials);
        api.set_remote_fingerprint(fingerprint);
        api.start_dtls(active).expect("a fresh connection");
        api.declare_media(Mid::from("v"), MediaKind::Video);
        self.drain();
    }
}

/// A sender and its receiver, connected. Panics if they do not come together.
pub fn connect(start: Instant) -> (Peer, Peer) {
    let mut sender = Peer::new("192.0.2.1:5000", true, start);
    let mut receiver = Peer::new("192.0.2.2:5000", false, start);
    sender.meet(&mut receiver, false);
    receiver.meet(&mut sender, true);
    sender.rtc.direct_api().declare_stream_tx(sender.ssrc, Some(2.into()), Mid::from("v"), None);
    sender.drain();
    let mut now = start;
    for _ in 0..CONNECT_STEPS {
        now += CONNECT_STEP;
        exchange(&mut sender, &mut receiver, now);
        if sender.connected && receiver.connected {
            return (sender, receiver);
        }
    }
    panic!("ICE and DTLS did not complete");
}

/// Tell both ends the time and carry what is not media (ICE, DTLS, RTCP) until both are silent.
pub fn exchange(left: &mut Peer, right: &mut Peer, now: Instant) {
    left.tell_time(now);
    right.tell_time(now);
    while !left.outbox.is_empty() || !right.outbox.is_empty() {
        for datagram in std::mem::take(&mut left.outbox) {
            right.receive(&datagram, left.address);
        }
        for datagram in std::mem::take(&mut right.outbox) {
            left.receive(&datagram, right.address);
        }
    }
}

/// Whether a datagram is RTP, not RTCP, by RFC 7983 and RFC 5761.
fn is_rtp(datagram: &[u8]) -> bool {
    (128..192).contains(&datagram[0]) && !(192..224).contains(&datagram[1])
}
