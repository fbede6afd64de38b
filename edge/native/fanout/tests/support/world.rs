//! Shards, viewers and the clock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use farstage_fanout::clock::WireClock;
use farstage_fanout::connection::ConnectionSetup;
use farstage_fanout::events::{Command, Counters, Event};
use farstage_fanout::ice::IceCredentials;
use farstage_fanout::outlet::Path;
use farstage_fanout::publisher::PublisherSetup;
use farstage_fanout::registry::{Expected, Purpose, Registry, Restart};
use farstage_fanout::sdp::{self, Local, Offer, Ssrcs, Wanted};
use farstage_fanout::shard::{Arrival, Shard};
use farstage_fanout::statistics::ViewerRow;
use farstage_fanout::stream::PacketizedFrame;
use farstage_fanout::viewer::ViewerSetup;
use farstage_rtp::depacketize::depacketize;
use farstage_rtp::packetize::Codec;
use farstage_transport::dtls::{DtlsConfig, DtlsSettings, Identity};
use farstage_transport::stun::IntegrityKey;

use super::client::{Answer, Client, Media};
use super::offering::Offering;
use super::wire::Wire;

/// The stream that tests watch unless they say otherwise.
pub const STREAM: u64 = 7;
/// One picture of thirty a second.
pub const PICTURE_INTERVAL: Duration = Duration::from_micros(33_333);
const TICKS_PER_PICTURE: u32 = 3_000;
/// 2026-11-25 00:00 UTC.
const UNIX_AT_START: Duration = Duration::from_secs(1_795_564_800);

/// Where the n-th viewer is.
pub fn address(number: u64) -> Path {
    let [.., high, low] = number.to_be_bytes();
    Path::Udp(0, SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, high, low)), 40_000))
}

/// Bytes that look like no others.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(step).collect()
}

/// A source of pictures of one stream.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    pictures: u64,
    timestamp: u32,
}

/// See the module.
pub struct World {
    pub start: Instant,
    pub now: Instant,
    pub clock: WireClock,
    pub registry: Arc<Registry>,
    pub shards: Vec<Shard>,
    pub wire: Wire,
    pub viewers: Vec<Client>,
    /// The shard that the kernel gives a path's datagrams to, if not the first.
    pub lands_on: HashMap<Path, usize>,
    /// How often a shard handed a datagram to another.
    pub forwarded: usize,
    /// Datagrams that no viewer listened for.
    pub unclaimed: Vec<(Path, Vec<u8>)>,
    pub events: Vec<Event>,
    /// How many viewers' handling is meant to fail.
    pub expected_panics: u64,
    // What viewers that are admitted from now on get.
    pub wanted: Wanted,
    pub playout_delay: [u8; 3],
    pub start_bps: u64,
    pub connect_within: Duration,
    pub seed: u64,
    dtls: DtlsConfig,
    sources: HashMap<u64, Source>,
    /// Pictures that were sent, by stream and RTP time.
    pictures: HashMap<(u64, u32), Vec<u8>>,
}

impl World {
    /// An edge of one shard.
    pub fn new() -> Self {
        Self::with_shards(1)
    }

    /// An edge of several shards that share a port.
    pub fn with_shards(count: usize) -> Self {
        let identity = Identity {
            certificate: include_bytes!("../../../transport/testdata/first_certificate.der").to_vec(),
            private_key: include_bytes!("../../../transport/testdata/first_key.der").to_vec(),
        };
        let dtls = DtlsConfig::new(identity, &DtlsSettings::default()).expect("the test identity is good");
        let start = Instant::now();
        let registry = Arc::new(Registry::default());
        let clock = WireClock::new(start, UNIX_AT_START);
        let shard = |index| Shard::new(index, dtls.clone(), clock, Arc::clone(&registry), start);
        Self {
            start,
            now: start,
            clock,
            shards: (0..count).map(shard).collect(),
            registry,
            wire: Wire::default(),
            viewers: Vec::new(),
            lands_on: HashMap::new(),
            forwarded: 0,
            unclaimed: Vec::new(),
            events: Vec::new(),
            expected_panics: 0,
            wanted: Wanted { encoding: "VP8".to_owned(), profiles: Vec::new() },
            playout_delay: [0, 0, 10],
            start_bps: 2_500_000,
            connect_within: Duration::from_secs(20),
            seed: 0x1234_5678_9ABC_DEF0,
            dtls,
            sources: HashMap::new(),
            pictures: HashMap::new(),
        }
    }

    // --- viewers ---

    /// Answers a viewer; it has not come yet. Its session is its index and 1,000.
    pub fn admit(&mut self, offering: Offering, stream: u64) -> usize {
        let number = self.viewers.len();
        let session = 1_000 + number as u64;
        let offer = Offer::parse(&offering.text()).expect("a good offer");
        let local = self.local(number);
        let (text, agreement) = sdp::answer(&offer, &self.wanted, &local).expect("an offer that can be answered");
        let purpose = Purpose::Watch(Box::new(ViewerSetup {
            stream,
            agreement,
            ssrcs: local.ssrcs,
            start_bps: self.start_bps,
            playout_delay: self.playout_delay,
            seed: self.seed,
        }));
        self.expect(session, &offer, local, agreement.starts_dtls, purpose);
        self.viewers.push(Client::new(session, address(session), offering, &text, self.now));
        number
    }

    /// Answers a publisher; it has not come yet. It is a client as viewers are, and numbered with them.
    pub fn admit_publisher(&mut self, offering: Offering) -> usize {
        let number = self.viewers.len();
        let session = 1_000 + number as u64;
        let offer = Offer::parse_published(&offering.text()).expect("a good offer");
        let local = self.local(number);
        let answered = sdp::answer_publisher(&offer, &self.wanted, sdp::MAX_LAYERS, &local);
        let (text, agreement) = answered.expect("an offer that can be answered");
        let starts_dtls = agreement.starts_dtls;
        let purpose = Purpose::Publish(Box::new(PublisherSetup { agreement, ssrc: local.ssrcs.video }));
        self.expect(session, &offer, local, starts_dtls, purpose);
        self.viewers.push(Client::new(session, address(session), offering, &text, self.now));
        number
    }

    fn local(&self, number: usize) -> Local {
        let ssrc = 0x1000_0000 + 4 * number as u32;
        Local {
            ufrag: format!("edge{number:04}"),
            password: format!("PassWordOfTheEdge{number:08}"),
            fingerprint: self.dtls.fingerprint(),
            udp: vec!["198.51.100.1:3478".parse().expect("an address")],
            tcp: vec!["198.51.100.1:3478".parse().expect("an address")],
            ssrcs: Ssrcs { video: ssrc, rtx: ssrc + 1, audio: ssrc + 2 },
        }
    }

    fn expect(&self, session: u64, offer: &Offer, local: Local, starts_dtls: bool, purpose: Purpose) {
        let connection = ConnectionSetup {
            session,
            ice: IceCredentials {
                local_key: IntegrityKey::new(local.password.as_bytes()),
                local_ufrag: local.ufrag,
                remote_ufrag: offer.ufrag.clone(),
                remote_password: offer.password.clone(),
            },
            remote_fingerprint: offer.fingerprint,
            starts_dtls,
            deadline: self.now + self.connect_within,
        };
        self.registry.admit(Box::new(Expected { connection, purpose }));
    }

    /// A viewer comes and connects.
    pub fn join(&mut self, offering: Offering, stream: u64) -> usize {
        let viewer = self.admit(offering, stream);
        self.connect(viewer);
        viewer
    }

    /// A viewer like any other, of the usual stream.
    pub fn join_usual(&mut self) -> usize {
        self.join(Offering::default(), STREAM)
    }

    /// A viewer restarts ICE with these credentials; they are its own from now on if the edge agrees.
    pub fn restart(&mut self, viewer: usize, ufrag: &str) -> Restart {
        let client = &mut self.viewers[viewer];
        let offering =
            Offering { ufrag: ufrag.to_owned(), password: format!("{ufrag}{ufrag:0>30}"), ..client.offering.clone() };
        let (local_ufrag, password) = (format!("new{ufrag}"), format!("PassWordAnew{ufrag:0>20}"));
        let ice = IceCredentials {
            local_key: IntegrityKey::new(password.as_bytes()),
            local_ufrag: local_ufrag.clone(),
            remote_ufrag: offering.ufrag.clone(),
            remote_password: offering.password.clone(),
        };
        let restart = self.registry.restart(client.session, &ice, self.now);
        if restart == Restart::Begun {
            client.offering = offering;
            client.answer = Answer { ufrag: local_ufrag, password, ..client.answer.clone() };
            let session = client.session;
            self.command(&Command::Restart(session, Arc::new(ice)));
        }
        restart
    }

    /// Lets an admitted viewer connect; takes no time.
    pub fn connect(&mut self, viewer: usize) {
        self.tick_clients();
        self.settle();
        self.tick_clients();
        self.settle();
        assert!(self.viewers[viewer].connected, "the viewer connects");
    }

    /// The statistics of a viewer; it must be connected.
    pub fn row(&self, viewer: usize) -> ViewerRow {
        let session = self.viewers[viewer].session;
        self.rows().into_iter().find(|row| row.session == session).expect("a connected viewer")
    }

    /// The statistics of all.
    pub fn rows(&self) -> Vec<ViewerRow> {
        let mut rows = Vec::new();
        self.shards.iter().for_each(|shard| shard.statistics(&mut rows));
        rows
    }

    /// The pictures that a viewer has whole, by RTP time, in the order of arrival; checked against what was sent.
    pub fn pictures_of(&self, viewer: usize, stream: u64) -> Vec<u32> {
        let mut whole = Vec::new();
        let mut packets: Vec<&Media> = Vec::new();
        for media in &self.viewers[viewer].video {
            if packets.last().is_some_and(|last| last.index + 1 != media.index || last.marker) {
                packets.clear();
            }
            packets.push(media);
            let mut picture = Vec::new();
            let payloads = packets.iter().map(|media| media.payload.as_slice());
            if media.marker && depacketize(Codec::Vp8, payloads, &mut picture).is_ok() {
                let sent = self.pictures.get(&(stream, media.timestamp));
                if sent.is_some_and(|sent| *sent == picture) {
                    whole.push(media.timestamp);
                }
            }
        }
        whole
    }

    // --- pictures ---

    /// A source sends a picture of this many bytes; takes no time. Returns its RTP time.
    pub fn picture(&mut self, stream: u64, bytes: usize, keyframe: bool) -> u32 {
        let timestamp = self.feed(stream, bytes, keyframe);
        self.settle();
        timestamp
    }

    /// The same, without carrying to the viewers what the shards send.
    pub fn feed(&mut self, stream: u64, bytes: usize, keyframe: bool) -> u32 {
        let source = self.sources.entry(stream).or_insert(Source { pictures: 0, timestamp: 4_294_900_000 });
        source.pictures += 1;
        source.timestamp = source.timestamp.wrapping_add(TICKS_PER_PICTURE);
        let Source { pictures, timestamp } = *source;
        let picture = noise(pictures ^ stream << 32, bytes);
        let id = (pictures & 0x7FFF) as u16;
        let frame = PacketizedFrame::new(Codec::Vp8, &picture, keyframe, timestamp, id, self.now);
        self.pictures.insert((stream, timestamp), picture);
        self.command(&Command::Frame(stream, Arc::new(frame.expect("a picture"))));
        timestamp
    }

    /// Plays this many pictures at thirty a second, a keyframe first if asked for. Returns their RTP times.
    pub fn play(&mut self, stream: u64, count: usize, bytes: usize, keyframe: bool) -> Vec<u32> {
        (0..count)
            .map(|at| {
                let timestamp = self.picture(stream, bytes, keyframe && at == 0);
                self.run(PICTURE_INTERVAL);
                timestamp
            })
            .collect()
    }

    /// Tells all shards.
    pub fn command(&mut self, command: &Command) {
        for shard in &mut self.shards {
            shard.command(command, self.now, &mut self.wire);
        }
    }

    // --- time and datagrams ---

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.settle();
        while self.now < end {
            let shards = self.shards.iter().map(Shard::next_wake);
            let clients = self.viewers.iter().filter_map(Client::next_wake);
            let next = shards.chain(clients).min().unwrap_or(end);
            self.now =
                next.clamp(self.now + Duration::from_micros(500), end.max(self.now + Duration::from_micros(500)));
            self.now = self.now.min(end);
            self.tick_shards();
            self.tick_clients();
            self.settle();
        }
    }

    /// Fires what is due at the edge.
    pub fn tick_shards(&mut self) {
        for shard in &mut self.shards {
            if shard.next_wake() <= self.now {
                shard.tick(self.now, &mut self.wire);
            }
        }
    }

    fn tick_clients(&mut self) {
        self.viewers.iter_mut().for_each(|viewer| viewer.tick(self.now));
    }

    /// Carries datagrams until none is left, and checks what must always hold.
    pub fn settle(&mut self) {
        loop {
            let sent: Vec<(Path, Vec<u8>)> = self.wire.sent.drain(..).collect();
            let mut moved = !sent.is_empty();
            for (path, datagram) in sent {
                match self.viewers.iter_mut().find(|viewer| viewer.listens.contains(&path)) {
                    Some(viewer) => viewer.receive(&datagram, self.now),
                    None => self.unclaimed.push((path, datagram)),
                }
            }
            for at in 0..self.viewers.len() {
                for (path, datagram) in self.viewers[at].take_outgoing() {
                    moved = true;
                    if self.viewers[at].online {
                        self.deliver(path, &datagram);
                    }
                }
            }
            if !moved {
                break;
            }
        }
        self.validate();
    }

    /// A datagram reaches the edge; what the edge sends stays on the wire.
    pub fn deliver(&mut self, path: Path, datagram: &[u8]) {
        let lands_on = self.lands_on.get(&path).copied().unwrap_or(0);
        let mut datagram = datagram.to_vec();
        let arrival = self.shards[lands_on].datagram(path, &mut datagram, self.now, &mut self.wire);
        if let Arrival::Forward(to) = arrival {
            self.forwarded += 1;
            assert_ne!(to, lands_on, "a shard forwards to others alone");
            let again = self.shards[to].datagram(path, &mut datagram, self.now, &mut self.wire);
            assert_eq!(again, Arrival::Handled, "a datagram is forwarded once");
        }
    }

    /// A datagram reaches the edge; returns what is sent at once in return.
    pub fn poke(&mut self, path: Path, datagram: &[u8]) -> Vec<(Path, Vec<u8>)> {
        self.settle();
        self.deliver(path, datagram);
        let sent = self.wire.sent.drain(..).collect();
        self.validate();
        sent
    }

    /// What must hold after every step.
    fn validate(&mut self) {
        assert_eq!(self.wire.violations, [], "no run goes beyond what a socket sends");
        for shard in &mut self.shards {
            self.events.extend(shard.take_events());
        }
        assert!(self.counters().panics <= self.expected_panics, "no handling of a viewer fails");
        let gone = |session: &u64| self.events.iter().filter(|event| **event == Event::Gone(*session)).count();
        assert!(self.viewers.iter().all(|viewer| gone(&viewer.session) <= 1), "a viewer goes once");
    }

    // --- what was told ---

    /// What all shards have refused.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for counters in self.shards.iter().map(Shard::counters) {
            sum.strangers += counters.strangers;
            sum.stun_refused += counters.stun_refused;
            sum.dtls_failed += counters.dtls_failed;
            sum.srtp_refused += counters.srtp_refused;
            sum.rtcp_malformed += counters.rtcp_malformed;
            sum.messages_refused += counters.messages_refused;
            sum.sources_refused += counters.sources_refused;
            sum.pictures_lost += counters.pictures_lost;
            sum.layers_refused += counters.layers_refused;
            sum.panics += counters.panics;
        }
        sum
    }

    /// How often an event was told.
    pub fn count(&self, event: &Event) -> usize {
        self.events.iter().filter(|told| *told == event).count()
    }

    /// How often a keyframe of the usual stream was asked for.
    pub fn keyframes_asked(&self) -> usize {
        self.count(&Event::KeyframeNeeded(STREAM, 0))
    }

    /// Whether a viewer is gone.
    pub fn is_gone(&self, viewer: usize) -> bool {
        self.count(&Event::Gone(self.viewers[viewer].session)) == 1
    }
}
