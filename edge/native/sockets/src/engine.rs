//! The engine as its owner sees it: answers offers, takes pictures, gives out events and figures.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use farstage_fanout::clock::WireClock;
use farstage_fanout::connection::ConnectionSetup;
use farstage_fanout::events::{Command, Event};
use farstage_fanout::ice::IceCredentials;
use farstage_fanout::publisher::PublisherSetup;
use farstage_fanout::registry::{Expected, Purpose, Registry, Restart};
use farstage_fanout::sdp::{Fragment, Local, Offer, SdpError, Ssrcs, Wanted, answer, answer_publisher};
use farstage_fanout::shard::Shard;
use farstage_fanout::stream::{MAX_FRAME_BYTES, PacketizedFrame};
use farstage_fanout::viewer::ViewerSetup;
use farstage_rtp::packetize::Codec;
use farstage_transport::dtls::{DtlsConfig, DtlsSettings, Identity};
use farstage_transport::stun::IntegrityKey;

use crate::inbox::{Inbox, Item, Outbox};
use crate::tcp::listen;
use crate::thread::{Parts, ShardThread, Snapshot};
use crate::udp::{SendMode, Udp};

/// A viewer that was answered must connect within this time.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);
const CREDENTIAL_ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const UFRAG_CHARACTERS: usize = 8;
const PASSWORD_CHARACTERS: usize = 24;

/// How an engine is set up.
pub struct EngineSettings {
    /// Addresses to bind and to name in answers.
    pub bind: Vec<IpAddr>,
    /// Named in answers instead of the bound ones, where the network translates addresses; empty: the bound ones.
    pub announce: Vec<IpAddr>,
    /// UDP and TCP port; 0 for a free one.
    pub port: u16,
    /// Threads.
    pub shards: usize,
    /// DTLS certificate and key, DER.
    pub identity: Identity,
    /// Least and most playout delay, milliseconds.
    pub playout_delay_ms: (u16, u16),
    /// Send without segmentation offload also where the kernel has it.
    pub avoid_gso: bool,
}

/// Why an engine did not start or take something.
#[derive(Debug)]
pub enum EngineError {
    /// A socket or thread.
    Io(io::Error),
    /// Certificate or key.
    Identity(String),
    /// A picture.
    Frame(String),
}

impl fmt::Display for EngineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(formatter, "{error}"),
            Self::Identity(text) | Self::Frame(text) => formatter.write_str(text),
        }
    }
}

impl std::error::Error for EngineError {}

impl From<io::Error> for EngineError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A running engine.
pub struct Engine {
    registry: Arc<Registry>,
    dtls: DtlsConfig,
    inboxes: Arc<Vec<Inbox>>,
    outbox: Arc<Outbox>,
    snapshots: Vec<Arc<Mutex<Snapshot>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    udp: Vec<SocketAddr>,
    tcp: Vec<SocketAddr>,
    mode: SendMode,
    playout_delay: [u8; 3],
}

impl Engine {
    /// Bind the sockets and start the threads.
    pub fn start(settings: EngineSettings) -> Result<Self, EngineError> {
        let dtls = DtlsConfig::new(settings.identity, &DtlsSettings::default())
            .map_err(|error| EngineError::Identity(error.to_string()))?;
        let shards = settings.shards.clamp(1, 256);
        let sockets = bind_all(&settings.bind, settings.port, shards)?;
        let bound = sockets.addresses;
        let udp: Vec<SocketAddr> = if settings.announce.is_empty() {
            bound
        } else {
            let port = bound.first().map_or(0, SocketAddr::port);
            settings.announce.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
        };
        let inboxes = Arc::new((0..shards).map(|_| Inbox::new()).collect::<io::Result<Vec<_>>>()?);
        let mut engine = Self {
            registry: Arc::new(Registry::default()),
            dtls,
            inboxes,
            outbox: Arc::new(Outbox::new()?),
            snapshots: Vec::new(),
            threads: Mutex::default(),
            tcp: if sockets.has_tcp { udp.clone() } else { Vec::new() },
            udp,
            mode: SendMode::Sendmmsg,
            playout_delay: playout_delay(settings.playout_delay_ms),
        };
        for (index, (udp, listeners)) in sockets.shards.into_iter().enumerate() {
            engine.start_shard(index, udp, listeners, settings.avoid_gso)?;
        }
        Ok(engine)
    }

    fn start_shard(
        &mut self,
        index: usize,
        mut udp: Vec<Udp>,
        listeners: Vec<std::net::TcpListener>,
        avoid_gso: bool,
    ) -> Result<(), EngineError> {
        if avoid_gso {
            udp.iter_mut().for_each(|socket| socket.set_mode(SendMode::Sendmmsg));
        }
        self.mode = udp.first().map_or(self.mode, Udp::mode);
        let now = Instant::now();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let clock = WireClock::new(now, unix);
        let snapshot = Arc::new(Mutex::new(Snapshot::default()));
        self.snapshots.push(Arc::clone(&snapshot));
        let thread = ShardThread::new(Parts {
            shard: Shard::new(index, self.dtls.clone(), clock, Arc::clone(&self.registry), now),
            udp,
            listeners,
            inboxes: Arc::clone(&self.inboxes),
            index,
            outbox: Arc::clone(&self.outbox),
            snapshot,
        })?;
        let handle = std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || thread.run())?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        Ok(())
    }

    /// How pictures are sent.
    pub fn send_mode(&self) -> SendMode {
        self.mode
    }

    /// Threads.
    pub fn shards(&self) -> usize {
        self.inboxes.len()
    }

    /// Where UDP is received, as answers name it.
    pub fn udp_addresses(&self) -> &[SocketAddr] {
        &self.udp
    }

    /// Answer a viewer's offer; it may connect from now on. `start_bps`: what its line is thought to take.
    pub fn answer(
        &self,
        session: u64,
        stream: u64,
        offer: &str,
        wanted: &Wanted,
        start_bps: u64,
    ) -> Result<String, SdpError> {
        let offer = Offer::parse(offer)?;
        let local = self.local();
        let (text, agreement) = answer(&offer, wanted, &local)?;
        let setup = ViewerSetup {
            stream,
            agreement,
            ssrcs: local.ssrcs,
            playout_delay: self.playout_delay,
            start_bps,
            seed: u64::from(random_u32()) << 32 | u64::from(random_u32()),
        };
        self.expect(session, local, offer, agreement.starts_dtls, Purpose::Watch(Box::new(setup)));
        Ok(text)
    }

    /// Answer a publisher's offer; it may connect from now on. Returns the names of its layers too; one that sends but one
    /// encoding has one without a name.
    pub fn answer_publisher(
        &self,
        session: u64,
        offer: &str,
        wanted: &Wanted,
        max_layers: usize,
    ) -> Result<(String, Vec<String>), SdpError> {
        let offer = Offer::parse_published(offer)?;
        let local = self.local();
        let (text, agreement) = answer_publisher(&offer, wanted, max_layers, &local)?;
        let mut rids = agreement.rids.clone();
        rids.resize(agreement.layers(), String::new());
        let starts_dtls = agreement.starts_dtls;
        let setup = PublisherSetup { agreement, ssrc: local.ssrcs.video };
        self.expect(session, local, offer, starts_dtls, Purpose::Publish(Box::new(setup)));
        Ok((text, rids))
    }

    /// Our side of a new connection.
    fn local(&self) -> Local {
        Local {
            ufrag: random_text(UFRAG_CHARACTERS),
            password: random_text(PASSWORD_CHARACTERS),
            fingerprint: self.dtls.fingerprint(),
            udp: self.udp.clone(),
            tcp: self.tcp.clone(),
            ssrcs: Ssrcs { video: random_u32() | 1, rtx: random_u32() & !1, audio: random_u32() ^ 2 },
        }
    }

    fn expect(&self, session: u64, local: Local, offer: Offer, starts_dtls: bool, purpose: Purpose) {
        let connection = ConnectionSetup {
            session,
            ice: IceCredentials {
                local_key: IntegrityKey::new(local.password.as_bytes()),
                local_ufrag: local.ufrag,
                remote_ufrag: offer.ufrag,
                remote_password: offer.password,
            },
            remote_fingerprint: offer.fingerprint,
            starts_dtls,
            deadline: Instant::now() + CONNECT_WITHIN,
        };
        self.registry.admit(Box::new(Expected { connection, purpose }));
    }

    /// Take a trickled fragment. One with new credentials restarts ICE and is answered with ours; candidates are of no
    /// use, as we are lite, and an unknown session may have just ended.
    pub fn trickle(&self, session: u64, fragment: &str) -> Result<Option<String>, SdpError> {
        let fragment = Fragment::parse(fragment)?;
        let Some((remote_ufrag, remote_password)) = fragment.credentials()? else { return Ok(None) };
        let (ufrag, password) = (random_text(UFRAG_CHARACTERS), random_text(PASSWORD_CHARACTERS));
        let ice = IceCredentials {
            local_ufrag: ufrag.clone(),
            local_key: IntegrityKey::new(password.as_bytes()),
            remote_ufrag: remote_ufrag.to_owned(),
            remote_password: remote_password.to_owned(),
        };
        match self.registry.restart(session, &ice, Instant::now()) {
            Restart::Unchanged | Restart::Unknown => return Ok(None),
            Restart::TooSoon => return Err(SdpError("ICE restarts at most once a second; try again later".to_owned())),
            Restart::Begun => self.tell(&Command::Restart(session, Arc::new(ice))),
        }
        Ok(Some(fragment.answer(&ufrag, &password, &self.udp, &self.tcp)))
    }

    fn tell(&self, command: &Command) {
        for inbox in self.inboxes.iter() {
            inbox.push(Item::Command(command.clone()));
        }
    }

    /// A stream has these layers, lowest first, each taking about so many bits a second; none: it has one.
    pub fn set_layers(&self, stream: u64, rates_bps: &[u64]) {
        self.tell(&Command::Layers(stream, Arc::from(rates_bps)));
    }

    /// Send a picture to the viewers of a layer of a stream. `picture_id` counts the stream's pictures, those of several
    /// layers that show the same moment as one.
    #[allow(clippy::too_many_arguments)]
    pub fn send(
        &self,
        stream: u64,
        codec: Codec,
        frame: &[u8],
        keyframe: bool,
        timestamp: u32,
        picture_id: u16,
        layer: u8,
    ) -> Result<(), EngineError> {
        if frame.len() > MAX_FRAME_BYTES {
            let text = format!("a picture of {} bytes; the limit is {MAX_FRAME_BYTES}", frame.len());
            return Err(EngineError::Frame(text));
        }
        let frame = PacketizedFrame::new(codec, frame, keyframe, timestamp, picture_id, Instant::now())
            .map_err(|error| EngineError::Frame(error.to_string()))?;
        self.tell(&Command::Frame(stream, Arc::new(frame.in_layer(layer))));
        Ok(())
    }

    /// Send sound to one viewer.
    pub fn send_audio(&self, session: u64, timestamp: u32, opus_frame: &[u8]) {
        self.tell(&Command::Audio(session, timestamp, Arc::from(opus_frame)));
    }

    /// Send text to viewers that have the channel open.
    pub fn send_message(&self, sessions: &[u64], label: &str, text: &[u8]) {
        self.tell(&Command::Message(Arc::from(sessions), Arc::from(label), Arc::from(text)));
    }

    /// Ask a publisher for a keyframe of a layer; requests within 300 ms become one.
    pub fn request_keyframe(&self, session: u64, layer: usize) {
        self.tell(&Command::RequestKeyframe(session, layer));
    }

    /// End a viewer or publisher without an event; `farewell` tells its client.
    pub fn close(&self, session: u64, farewell: bool) {
        self.registry.withdraw(session);
        self.tell(&Command::Close { session, farewell });
    }

    /// Readable while [`Self::events`] has some.
    pub fn events_fd(&self) -> RawFd {
        self.outbox.waker.fd()
    }

    /// What happened.
    pub fn events(&self) -> Vec<Event> {
        self.outbox.take()
    }

    /// What the shards last showed of themselves.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let copy = |snapshot: &Arc<Mutex<Snapshot>>| snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.snapshots.iter().map(copy).collect()
    }

    /// End the threads. Viewers notice by what no longer comes; close them before to tell them.
    pub fn stop(&self) {
        for inbox in self.inboxes.iter() {
            inbox.push(Item::Stop);
        }
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

struct BoundSockets {
    addresses: Vec<SocketAddr>,
    shards: Vec<(Vec<Udp>, Vec<std::net::TcpListener>)>,
    has_tcp: bool,
}

/// The same port on every address and shard, for UDP and TCP alike. A free one is found by trying.
fn bind_all(addresses: &[IpAddr], port: u16, shards: usize) -> io::Result<BoundSockets> {
    const ATTEMPTS: usize = 16;
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no address to bind");
    if addresses.is_empty() {
        return Err(last);
    }
    for _ in 0..if port == 0 { ATTEMPTS } else { 1 } {
        match bind_on(addresses, port, shards) {
            Ok(bound) => return Ok(bound),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_on(addresses: &[IpAddr], mut port: u16, shards: usize) -> io::Result<BoundSockets> {
    if port != 0 {
        // Sharing a port with oneself must not mean sharing it with another process.
        for ip in addresses {
            drop(Udp::bind(SocketAddr::new(*ip, port), false)?);
        }
    }
    let mut bound = BoundSockets { addresses: Vec::new(), shards: Vec::new(), has_tcp: true };
    for shard in 0..shards {
        let mut udp = Vec::new();
        let mut listeners = Vec::new();
        for ip in addresses {
            let socket = Udp::bind(SocketAddr::new(*ip, port), true)?;
            let address = socket.local_address()?;
            port = address.port();
            if shard == 0 {
                bound.addresses.push(address);
            }
            udp.push(socket);
            listeners.push(listen(address)?);
        }
        bound.shards.push((udp, listeners));
    }
    Ok(bound)
}

fn playout_delay((least_ms, most_ms): (u16, u16)) -> [u8; 3] {
    let units = |ms: u16| u32::from(ms / 10).min(0xFFF);
    let [_, high, middle, low] = (units(least_ms) << 12 | units(most_ms)).to_be_bytes();
    [high, middle, low]
}

fn random_u32() -> u32 {
    let mut bytes = [0; 4];
    fill(&mut bytes);
    u32::from_ne_bytes(bytes)
}

fn random_text(characters: usize) -> String {
    let mut bytes = vec![0; characters];
    fill(&mut bytes);
    bytes.iter().map(|byte| char::from(CREDENTIAL_ALPHABET[usize::from(byte & 63)])).collect()
}

fn fill(bytes: &mut [u8]) {
    // The operating system's generator failing leaves nothing that could be done securely.
    rand::fill(bytes).expect("the operating system gives random bytes");
}

#[cfg(test)]
mod tests;
