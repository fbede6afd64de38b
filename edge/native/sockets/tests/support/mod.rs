//! Viewers on real sockets: the clients of `fanout/tests/support`, with a UDP socket or a TCP connection each.

#![allow(dead_code, reason = "each test file uses a part")]

#[path = "../../../fanout/tests/support/mod.rs"]
pub mod memory;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use farstage_fanout::events::{Counters, Event};
use farstage_fanout::outlet::Path;
use farstage_fanout::sdp::Wanted;
use farstage_rtp::packetize::Codec;
use farstage_sockets::engine::{Engine, EngineSettings};
use farstage_transport::dtls::Identity;
use memory::{Client, Offering};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The stream that all watch.
pub const STREAM: u64 = 7;
const STEP: Duration = Duration::from_millis(5);

/// Settings of an engine on a free port of these addresses.
pub fn settings(bind: &[IpAddr], shards: usize) -> EngineSettings {
    EngineSettings {
        bind: bind.to_vec(),
        announce: Vec::new(),
        port: 0,
        shards,
        identity: Identity {
            certificate: include_bytes!("../../../transport/testdata/first_certificate.der").to_vec(),
            private_key: include_bytes!("../../../transport/testdata/first_key.der").to_vec(),
        },
        playout_delay_ms: (0, 100),
        avoid_gso: false,
    }
}

/// An engine on IPv4 loopback.
pub fn engine(shards: usize) -> Engine {
    Engine::start(settings(&[Ipv4Addr::LOCALHOST.into()], shards)).expect("the engine starts")
}

/// VP8, whose pictures may have any bytes.
pub fn vp8() -> Wanted {
    Wanted { encoding: "VP8".to_owned(), profiles: Vec::new() }
}

/// How a viewer reaches the engine.
pub enum Line {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
}

impl Line {
    /// A new socket for this engine's address.
    pub fn udp(to: SocketAddr) -> Self {
        let local = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(local).expect("a free port");
        socket.connect(to).expect("a local address");
        socket.set_nonblocking(true).expect("a socket");
        Self::Udp(socket)
    }

    /// A new connection to this engine's address.
    pub fn tcp(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).expect("the engine listens");
        stream.set_nodelay(true).expect("a socket");
        stream.set_nonblocking(true).expect("a socket");
        Self::Tcp(stream, Vec::new())
    }

    /// The path as a viewer names it; the edge has its own.
    fn path(&self) -> Path {
        match self {
            Self::Udp(socket) => Path::Udp(0, socket.local_addr().expect("a bound socket")),
            Self::Tcp(stream, _) => Path::Tcp(0, stream.local_addr().expect("a bound socket")),
        }
    }

    fn fd(&self) -> RawFd {
        match self {
            Self::Udp(socket) => socket.as_raw_fd(),
            Self::Tcp(stream, _) => stream.as_raw_fd(),
        }
    }

    /// Sends datagrams, in one piece where the line is a stream of bytes.
    pub fn send(&mut self, datagrams: &[Vec<u8>]) {
        match self {
            Self::Udp(socket) => datagrams.iter().for_each(|datagram| {
                let _ = socket.send(datagram);
            }),
            Self::Tcp(stream, _) => {
                let framed = |datagram: &Vec<u8>| [&(datagram.len() as u16).to_be_bytes()[..], datagram].concat();
                let wire: Vec<u8> = datagrams.iter().flat_map(framed).collect();
                let _ = stream.write_all(&wire);
            }
        }
    }

    /// What has come, and whether the line is still open.
    pub fn receive(&mut self) -> (Vec<Vec<u8>>, bool) {
        let mut datagrams = Vec::new();
        let mut buffer = vec![0; 65_536];
        match self {
            Self::Udp(socket) => {
                while let Ok(length) = socket.recv(&mut buffer) {
                    datagrams.push(buffer[..length].to_vec());
                }
                (datagrams, true)
            }
            Self::Tcp(stream, received) => {
                let open = loop {
                    match stream.read(&mut buffer) {
                        Ok(0) => break false,
                        Ok(length) => received.extend_from_slice(&buffer[..length]),
                        Err(error) => break error.kind() == ErrorKind::WouldBlock,
                    }
                };
                while let Some(frame) = split_frame(received) {
                    datagrams.push(frame);
                }
                (datagrams, open)
            }
        }
    }
}

fn split_frame(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*received.first()?, *received.get(1)?]));
    let frame = received.get(2..2 + length)?.to_vec();
    received.drain(..2 + length);
    Some(frame)
}

/// A viewer on a line.
pub struct LiveViewer {
    pub client: Client,
    pub line: Line,
    /// Lines that it used before; it hears there as well.
    pub former: Vec<Line>,
}

impl LiveViewer {
    /// A viewer that was answered and has sent nothing yet.
    pub fn new(engine: &Engine, session: u64, offering: Offering, line: Line) -> Self {
        let answer = engine.answer(session, STREAM, &offering.text(), &vp8(), 10_000_000).expect("an answer");
        let client = Client::new(session, line.path(), offering, &answer, Instant::now());
        Self { client, line, former: Vec::new() }
    }

    /// Changes its line, as a client that roams.
    pub fn move_to(&mut self, line: Line) {
        let path = line.path();
        self.former.push(std::mem::replace(&mut self.line, line));
        self.client.move_to(path);
    }

    /// Sends and receives what there is; returns whether its line is open.
    pub fn step(&mut self) -> bool {
        let now = Instant::now();
        self.client.tick(now);
        self.flush();
        let (mut datagrams, open) = self.line.receive();
        datagrams.extend(self.former.iter_mut().flat_map(|line| line.receive().0));
        datagrams.iter().for_each(|datagram| self.client.receive(datagram, now));
        self.flush();
        open
    }

    fn flush(&mut self) {
        let datagrams: Vec<Vec<u8>> = self.client.take_outgoing().into_iter().map(|(_, datagram)| datagram).collect();
        self.line.send(&datagrams);
    }

    /// The sequence numbers of what it was sent, with their rollovers.
    pub fn indices(&self) -> Vec<u64> {
        self.client.video.iter().map(|media| media.index).collect()
    }
}

/// Lets all go on until something is so.
///
/// # Panics
/// After [`PATIENCE`].
pub fn until(viewers: &mut [LiveViewer], what: &str, mut is_so: impl FnMut(&mut [LiveViewer]) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so(viewers) {
        assert!(Instant::now() < end, "{what} within {PATIENCE:?}");
        viewers.iter_mut().for_each(|viewer| {
            viewer.step();
        });
        wait_for_any(viewers);
    }
}

/// Waits until something has come for one of them, but no longer than a step: events and figures come by no socket.
fn wait_for_any(viewers: &[LiveViewer]) {
    let poll = |viewer: &LiveViewer| libc::pollfd { fd: viewer.line.fd(), events: libc::POLLIN, revents: 0 };
    let mut polls: Vec<libc::pollfd> = viewers.iter().map(poll).collect();
    // The structures live until the call returns.
    unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, STEP.as_millis() as i32) };
}

/// Lets all connect.
pub fn connect(viewers: &mut [LiveViewer]) {
    until(viewers, "all connect", |viewers| viewers.iter().all(|viewer| viewer.client.connected));
}

/// Sends pictures one after the other, each when all viewers have the one before.
pub fn play(engine: &Engine, viewers: &mut [LiveViewer], numbers: std::ops::Range<u16>, bytes: usize) {
    for number in numbers {
        let before: Vec<usize> = viewers.iter().map(|viewer| markers(&viewer.client)).collect();
        let picture = memory::world::noise(u64::from(number), bytes);
        engine.send(STREAM, Codec::Vp8, &picture, number == 0, time_of(number), number, 0).expect("a good picture");
        until(viewers, &format!("picture {number} arrives"), |viewers| {
            viewers.iter().zip(&before).all(|(viewer, before)| markers(&viewer.client) > *before)
        });
    }
}

/// RTP time of a picture of [`play`].
pub fn time_of(number: u16) -> u32 {
    u32::from(number) * 3_000
}

fn markers(client: &Client) -> usize {
    client.video.iter().filter(|media| media.marker).count()
}

/// Whether a viewer has these pictures whole and in order, byte by byte.
pub fn has(client: &Client, numbers: std::ops::Range<u16>, bytes: usize) -> bool {
    numbers.into_iter().all(|number| {
        let own: Vec<&[u8]> = client
            .video
            .iter()
            .filter(|media| media.timestamp == time_of(number))
            .map(|media| media.payload.as_slice())
            .collect();
        let mut picture = Vec::new();
        farstage_rtp::depacketize::depacketize(Codec::Vp8, own, &mut picture).is_ok()
            && picture == memory::world::noise(u64::from(number), bytes)
    })
}

/// What all shards have refused, as they last showed it.
pub fn counters(engine: &Engine) -> Counters {
    let mut sum = Counters::default();
    for snapshot in engine.snapshots() {
        sum.strangers += snapshot.counters.strangers;
        sum.stun_refused += snapshot.counters.stun_refused;
        sum.panics += snapshot.counters.panics;
    }
    sum
}

/// Collects events until this one is among them.
pub fn await_event(engine: &Engine, viewers: &mut [LiveViewer], events: &mut Vec<Event>, expected: &Event) {
    until(viewers, &format!("{expected:?} is told"), |_| {
        events.extend(engine.events());
        events.contains(expected)
    });
}
