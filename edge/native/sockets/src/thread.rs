//! One shard's thread: waits for its sockets and its inbox, feeds the shard, carries its packets out.
//!
//! A fault outside the handling of one client costs this shard's clients their connections; the thread goes on.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use farstage_fanout::events::{Command, Counters};
use farstage_fanout::outlet::{Outlet, Path, Taken};
use farstage_fanout::shard::{Arrival, Shard};
use farstage_fanout::statistics::ViewerRow;

use crate::histogram::Histogram;
use crate::inbox::{Inbox, Item, Outbox};
use crate::poller::{Poller, Token, Waker};
use crate::tcp::{Connection, MAX_UNPROVED, PROVE_WITHIN};
use crate::udp::{Batch, RECEIVE_BATCH, SEND_BUFFER_BYTES, Udp};

/// Receives of one socket before others get their turn.
const RECEIVE_ROUNDS: usize = 8;
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(200);

const INBOX: Token = 0;
const UDP_BASE: Token = 1 << 8;
const LISTENER_BASE: Token = 1 << 16;
const CONNECTION_BASE: Token = 1 << 32;

static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// What a shard shows of itself, some times a second and whenever a viewer comes or goes.
#[derive(Default, Clone)]
pub struct Snapshot {
    /// Connected viewers.
    pub rows: Vec<ViewerRow>,
    /// Refusals.
    pub counters: Counters,
    /// From a picture's arrival at the engine to its last packet handed to the kernel.
    pub latency: Histogram,
    /// CPU time of the shard's thread, nanoseconds.
    pub cpu_ns: u64,
}

/// A shard's sockets.
struct Sockets {
    udp: Vec<Udp>,
    connections: HashMap<u64, Connection>,
    buffer: Vec<u8>,
    unwritten: Vec<u64>,
}

impl Outlet for Sockets {
    fn run(&mut self, path: Path, bytes: usize, segment: usize, fill: impl FnOnce(&mut [u8])) -> Taken {
        let Some(buffer) = self.buffer.get_mut(..bytes) else { return Taken::Yes };
        fill(buffer);
        let taken = match path {
            Path::Udp(local, peer) => {
                self.udp.get(usize::from(local)).is_none_or(|udp| udp.send(peer, buffer, segment))
            }
            Path::Tcp(number, _) => self.connections.get_mut(&number).is_none_or(|connection| {
                let taken = connection.send(buffer, segment);
                if connection.wants_to_write() {
                    self.unwritten.push(number);
                }
                taken
            }),
        };
        if taken { Taken::Yes } else { Taken::NoRoom }
    }
}

/// What a thread is given.
pub struct Parts {
    /// The logic.
    pub shard: Shard,
    /// One socket for each address.
    pub udp: Vec<Udp>,
    /// One for each address with TCP.
    pub listeners: Vec<TcpListener>,
    /// All shards' inboxes; `index` is its own.
    pub inboxes: Arc<Vec<Inbox>>,
    /// Its number.
    pub index: usize,
    /// Where events go.
    pub outbox: Arc<Outbox>,
    /// Where it shows itself.
    pub snapshot: Arc<Mutex<Snapshot>>,
}

/// The loop.
pub struct ShardThread {
    shard: Shard,
    sockets: Sockets,
    listeners: Vec<TcpListener>,
    poller: Poller,
    inboxes: Arc<Vec<Inbox>>,
    index: usize,
    /// Taken from the inbox and not handled yet.
    items: VecDeque<Item>,
    outbox: Arc<Outbox>,
    snapshot: Arc<Mutex<Snapshot>>,
    batch: Box<Batch>,
    latency: Histogram,
    next_snapshot: Instant,
    stopped: bool,
}

impl ShardThread {
    /// Register everything with a poller.
    pub fn new(parts: Parts) -> io::Result<Self> {
        let poller = Poller::new()?;
        let waker: &Waker = &parts.inboxes[parts.index].waker;
        poller.watch(waker.fd(), INBOX, false)?;
        for (at, udp) in parts.udp.iter().enumerate() {
            poller.watch(udp.fd(), UDP_BASE + at as Token, false)?;
        }
        for (at, listener) in parts.listeners.iter().enumerate() {
            poller.watch(listener.as_raw_fd(), LISTENER_BASE + at as Token, false)?;
        }
        let buffer = vec![0; SEND_BUFFER_BYTES];
        Ok(Self {
            shard: parts.shard,
            sockets: Sockets { udp: parts.udp, connections: HashMap::new(), buffer, unwritten: Vec::new() },
            listeners: parts.listeners,
            poller,
            inboxes: parts.inboxes,
            index: parts.index,
            items: VecDeque::new(),
            outbox: parts.outbox,
            snapshot: parts.snapshot,
            batch: Batch::new(),
            latency: Histogram::default(),
            next_snapshot: Instant::now(),
            stopped: false,
        })
    }

    /// Run until stopped.
    pub fn run(mut self) {
        let mut ready = Vec::new();
        while !self.stopped {
            match catch_unwind(AssertUnwindSafe(|| self.turn(&mut ready))) {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => self.shard.begin_anew(Instant::now()),
            }
        }
    }

    fn turn(&mut self, ready: &mut Vec<Token>) -> io::Result<()> {
        // Those that came with a fault.
        self.handle_items();
        let due = if self.stopped {
            Duration::ZERO
        } else {
            self.shard.next_wake().saturating_duration_since(Instant::now())
        };
        self.poller.wait(due, ready)?;
        for token in ready {
            self.serve(*token);
        }
        let now = Instant::now();
        if now >= self.shard.next_wake() {
            self.shard.tick(now, &mut self.sockets);
        }
        self.write_more();
        self.publish(now);
        Ok(())
    }

    fn serve(&mut self, token: Token) {
        match token {
            INBOX => {
                self.items.extend(self.inboxes[self.index].take());
                self.handle_items();
            }
            token if token >= CONNECTION_BASE => self.serve_connection(token - CONNECTION_BASE),
            token if token >= LISTENER_BASE => self.accept((token - LISTENER_BASE) as usize),
            token => self.receive((token - UDP_BASE) as usize),
        }
    }

    fn handle_items(&mut self) {
        while let Some(item) = self.items.pop_front() {
            let now = Instant::now();
            match item {
                Item::Command(command) => {
                    self.shard.command(&command, now, &mut self.sockets);
                    if let Command::Frame(_, frame) = command {
                        self.latency.record(frame.arrived.elapsed().as_nanos() as u64);
                    }
                }
                Item::Stray(path, mut datagram) => {
                    self.shard.datagram(path, &mut datagram, now, &mut self.sockets);
                }
                Item::Adopt(connection, frames) => self.adopt(connection, frames, now),
                Item::Stop => self.stopped = true,
                #[cfg(test)]
                Item::Fault => panic!("as the test wants it"),
            }
        }
    }

    fn receive(&mut self, at: usize) {
        for _ in 0..RECEIVE_ROUNDS {
            let Some(fd) = self.sockets.udp.get(at).map(Udp::fd) else { return };
            let now = Instant::now();
            let (shard, sockets, inboxes) = (&mut self.shard, &mut self.sockets, &self.inboxes);
            let received = self.batch.receive(fd, |from, datagram| {
                let path = Path::Udp(at as u8, from);
                if let Arrival::Forward(to) = shard.datagram(path, datagram, now, sockets) {
                    forward(inboxes, to, Item::Stray(path, datagram.to_vec()));
                }
            });
            // An error is an ICMP answer to an earlier datagram; the next receive goes on.
            if !matches!(received, Ok(count) if count == RECEIVE_BATCH) {
                return;
            }
        }
    }

    // --- connections ---

    fn accept(&mut self, at: usize) {
        let Some(listener) = self.listeners.get(at) else { return };
        let Ok((stream, peer)) = listener.accept() else { return };
        let unproved = self.sockets.connections.values().filter(|connection| !connection.proved).count();
        let number = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
        if unproved >= MAX_UNPROVED {
            return;
        }
        if let Ok(connection) = Connection::new(number, stream, peer, Instant::now()) {
            self.keep(connection);
        }
    }

    fn keep(&mut self, connection: Connection) {
        if self.poller.watch(connection.fd(), CONNECTION_BASE + connection.number, false).is_ok() {
            self.sockets.connections.insert(connection.number, connection);
        }
    }

    fn adopt(&mut self, connection: Connection, frames: Vec<Vec<u8>>, now: Instant) {
        let path = Path::Tcp(connection.number, connection.peer);
        self.keep(connection);
        self.take_frames(path, frames, now);
    }

    fn serve_connection(&mut self, number: u64) {
        let now = Instant::now();
        let Some(connection) = self.sockets.connections.get_mut(&number) else { return };
        connection.flush();
        let path = Path::Tcp(number, connection.peer);
        let mut frames = Vec::new();
        let open = connection.receive(&mut frames);
        self.take_frames(path, frames, now);
        if !open {
            self.disconnect(path, number);
        } else if let Some(connection) = self.sockets.connections.get(&number) {
            let _ = self.poller.rewatch(connection.fd(), CONNECTION_BASE + number, connection.wants_to_write());
        }
    }

    fn take_frames(&mut self, path: Path, mut frames: Vec<Vec<u8>>, now: Instant) {
        let Path::Tcp(number, _) = path else { return };
        for at in 0..frames.len() {
            let arrival = self.shard.datagram(path, &mut frames[at], now, &mut self.sockets);
            if let Arrival::Forward(to) = arrival {
                if let Some(connection) = self.sockets.connections.remove(&number) {
                    self.poller.forget(connection.fd());
                    forward(&self.inboxes, to, Item::Adopt(connection, frames.split_off(at)));
                }
                return;
            }
        }
        if self.shard.knows(path)
            && let Some(connection) = self.sockets.connections.get_mut(&number)
        {
            connection.proved = true;
        }
    }

    fn disconnect(&mut self, path: Path, number: u64) {
        self.shard.path_closed(path);
        if let Some(connection) = self.sockets.connections.remove(&number) {
            self.poller.forget(connection.fd());
        }
    }

    fn write_more(&mut self) {
        for number in std::mem::take(&mut self.sockets.unwritten) {
            if let Some(connection) = self.sockets.connections.get(&number) {
                let _ = self.poller.rewatch(connection.fd(), CONNECTION_BASE + number, connection.wants_to_write());
            }
        }
    }

    /// Close connections that have proved nothing in time, or whose viewer is gone.
    fn prune_connections(&mut self, now: Instant) {
        let stale = |connection: &&Connection| {
            let path = Path::Tcp(connection.number, connection.peer);
            now.saturating_duration_since(connection.since) > PROVE_WITHIN && !self.shard.knows(path)
        };
        let stale: Vec<Path> =
            self.sockets.connections.values().filter(stale).map(|c| Path::Tcp(c.number, c.peer)).collect();
        for path in stale {
            if let Path::Tcp(number, _) = path {
                self.disconnect(path, number);
            }
        }
    }

    fn publish(&mut self, now: Instant) {
        if self.shard.take_changed() || now >= self.next_snapshot {
            if now >= self.next_snapshot {
                self.prune_connections(now);
            }
            self.next_snapshot = now + SNAPSHOT_INTERVAL;
            let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
            snapshot.rows.clear();
            self.shard.statistics(&mut snapshot.rows);
            snapshot.counters = self.shard.counters();
            snapshot.latency = self.latency.clone();
            snapshot.cpu_ns = thread_cpu_ns();
        }
        self.outbox.extend(self.shard.take_events());
    }
}

fn forward(inboxes: &[Inbox], to: usize, item: Item) {
    if let Some(inbox) = inboxes.get(to) {
        inbox.push(item);
    }
}

/// CPU time of the calling thread.
pub fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // The structure lives until the call returns.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
