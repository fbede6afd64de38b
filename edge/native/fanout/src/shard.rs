//! All viewers of one thread: who a packet is from, who gets a picture, what is due. Sans-IO; one owner, no locks.
//!
//! A packet finds its viewer by the path it came on, which a connectivity check has proved; a check from elsewhere finds
//! it by user name. Handling one viewer can end only that viewer: a panic is caught, counted and costs its connection.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use farstage_rtp::header::{DatagramKind, classify};
use farstage_transport::dtls::DtlsConfig;
use farstage_transport::stun::{self, Class};
use slab::Slab;

use crate::clock::WireClock;
use crate::connection::{Connection, Ended, Surroundings};
use crate::events::{Command, Counters, Event};
use crate::ice::IceCredentials;
use crate::layered::{LayeredStream, MAX_LAYERS};
use crate::outlet::{Outlet, Path};
use crate::publisher::Publisher;
use crate::registry::{Claim, Expected, Purpose, Registry};
use crate::statistics::ViewerRow;
use crate::stream::PacketizedFrame;
use crate::viewer::{Pumped, Viewer, ViewerSetup};

mod paths;
mod publishing;

use paths::Paths;

/// How often timers are looked at.
const SWEEP: Duration = Duration::from_millis(50);
/// How often viewers that are sent a picture in pieces get the next one.
const PIECE: Duration = Duration::from_millis(5);
/// At most two keyframes a second and layer of a stream are asked for.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);
/// A stream that nobody watches, feeds or has described is forgotten.
const STREAM_IDLE: Duration = Duration::from_secs(10);

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It was used or dropped.
    Handled,
    /// It belongs to a viewer of this shard.
    Forward(usize),
}

/// A layer's keyframe: whether viewers wait for it, and when its source was last asked.
#[derive(Default)]
struct KeyframeWish {
    is_wanted: bool,
    asked: Option<Instant>,
}

#[derive(Default)]
struct Watched {
    cache: LayeredStream,
    viewers: Vec<usize>,
    wishes: [KeyframeWish; MAX_LAYERS],
    /// RTP time of the newest picture of which a packet has left.
    left: Option<u32>,
    unused_since: Option<Instant>,
}

/// A client of this shard, by its key among those of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Member {
    Viewer(usize),
    Publisher(usize),
}

/// See the module.
pub struct Shard {
    index: usize,
    dtls: DtlsConfig,
    clock: WireClock,
    registry: Arc<Registry>,
    viewers: Slab<Viewer>,
    publishers: Slab<Publisher>,
    paths: Paths,
    by_session: HashMap<u64, Member>,
    by_ufrag: HashMap<String, Member>,
    streams: HashMap<u64, Watched>,
    behind: Vec<usize>,
    events: Vec<Event>,
    counters: Counters,
    scratch: Vec<u8>,
    next_sweep: Instant,
    next_piece: Instant,
    next_publishing: Instant,
    changed: bool,
}

impl Shard {
    /// An empty shard. `index` is its number among those that share the registry.
    pub fn new(index: usize, dtls: DtlsConfig, clock: WireClock, registry: Arc<Registry>, now: Instant) -> Self {
        Self {
            index,
            dtls,
            clock,
            registry,
            viewers: Slab::new(),
            publishers: Slab::new(),
            paths: Paths::default(),
            by_session: HashMap::new(),
            by_ufrag: HashMap::new(),
            streams: HashMap::new(),
            behind: Vec::new(),
            events: Vec::new(),
            counters: Counters::default(),
            scratch: Vec::new(),
            next_sweep: now,
            next_piece: now,
            next_publishing: now,
            changed: false,
        }
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Whether viewers have come or gone since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Refusals so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// One row a connected viewer.
    pub fn statistics(&self, rows: &mut Vec<ViewerRow>) {
        rows.extend(
            self.viewers.iter().filter(|(_, viewer)| viewer.is_connected()).map(|(_, viewer)| ViewerRow::of(viewer)),
        );
    }

    /// When [`Self::tick`] is due.
    pub fn next_wake(&self) -> Instant {
        let pieces = (!self.behind.is_empty()).then_some(self.next_piece);
        let publishing = (!self.publishers.is_empty()).then_some(self.next_publishing);
        [pieces, publishing].into_iter().flatten().fold(self.next_sweep, Instant::min)
    }

    /// A datagram came by `from`; it is decrypted in place.
    pub fn datagram(&mut self, from: Path, datagram: &mut [u8], now: Instant, out: &mut impl Outlet) -> Arrival {
        match classify(datagram) {
            DatagramKind::Stun => return self.check(from, datagram, now, out),
            kind => match self.paths.owner(from) {
                Some(Member::Viewer(key)) => self.packet(key, kind, datagram, now, out),
                Some(Member::Publisher(key)) => self.publisher_packet(key, kind, datagram, now, out),
                None => {
                    if let Some(shard) = self.registry.stray(from.address()).filter(|shard| *shard != self.index) {
                        return Arrival::Forward(shard);
                    }
                    self.counters.strangers += 1;
                }
            },
        }
        Arrival::Handled
    }

    /// Whether a connection's client is known, so that it may stay.
    pub fn knows(&self, path: Path) -> bool {
        self.paths.owner(path).is_some()
    }

    /// A connection has closed.
    pub fn path_closed(&mut self, path: Path) {
        self.paths.forget(path);
    }

    fn check(&mut self, from: Path, datagram: &[u8], now: Instant, out: &mut impl Outlet) -> Arrival {
        let Ok(message) = stun::parse(datagram) else {
            self.counters.stun_refused += 1;
            return Arrival::Handled;
        };
        let ufrag = message.username_fragments().and_then(|(local, _)| std::str::from_utf8(local).ok());
        let Some(ufrag) = ufrag.filter(|_| message.class == Class::Request) else {
            self.counters.stun_refused += 1;
            return Arrival::Handled;
        };
        let member = match self.by_ufrag.get(ufrag) {
            Some(member) => *member,
            None => match self.registry.claim(ufrag, self.index, from.address(), |key| message.verify(key)) {
                Claim::Yours(expected) => self.admit(*expected, from, now),
                Claim::Elsewhere(shard) => return Arrival::Forward(shard),
                Claim::Unknown => {
                    self.counters.stun_refused += 1;
                    return Arrival::Handled;
                }
            },
        };
        match member {
            Member::Viewer(key) => self.check_viewer(key, &message, from, now, out),
            Member::Publisher(key) => self.check_publisher(key, &message, from, now, out),
        }
        self.retire(member);
        Arrival::Handled
    }

    fn connection_mut(&mut self, member: Member) -> Option<&mut Connection> {
        match member {
            Member::Viewer(key) => self.viewers.get_mut(key).map(|viewer| &mut viewer.connection),
            Member::Publisher(key) => self.publishers.get_mut(key).map(|publisher| &mut publisher.connection),
        }
    }

    /// ICE restarts: the client is known by these credentials too.
    fn restart(&mut self, session: u64, ice: &IceCredentials) {
        let Some(member) = self.by_session.get(&session).copied() else { return };
        let Some(connection) = self.connection_mut(member) else { return };
        if let Some(abandoned) = connection.restart(ice.clone()) {
            self.by_ufrag.remove(&abandoned);
        }
        self.by_ufrag.insert(ice.local_ufrag.clone(), member);
    }

    /// Forget the fragment by which a client was known, if ICE has restarted by another.
    fn retire(&mut self, member: Member) {
        let Some(connection) = self.connection_mut(member) else { return };
        let session = connection.session();
        if let Some(former) = connection.take_retired() {
            self.by_ufrag.remove(&former);
            self.registry.retire(session, &former);
        }
    }

    fn check_viewer(
        &mut self,
        key: usize,
        message: &stun::Message<'_>,
        from: Path,
        now: Instant,
        out: &mut impl Outlet,
    ) {
        let was_silent = self.is_silent(key, now);
        match self.with(key, now, out, |viewer, around| Ok(viewer.connection.check(message, from, around))) {
            Some(true) => {
                let in_use = self.viewers.get(key).map(|viewer| viewer.connection.path);
                self.paths.note(from, Member::Viewer(key), in_use);
                self.resume(key, was_silent, now, out);
            }
            Some(false) => self.counters.stun_refused += 1,
            None => {}
        }
    }

    fn is_silent(&self, key: usize, now: Instant) -> bool {
        self.viewers.get(key).is_some_and(|viewer| !viewer.consents(now))
    }

    /// Send what a viewer has missed that is heard again: a stream at rest has no next picture to do it with.
    fn resume(&mut self, key: usize, was_silent: bool, now: Instant, out: &mut impl Outlet) {
        let stream = self.viewers.get(key).map(|viewer| viewer.setup.stream);
        if let Some(stream) = stream.filter(|_| was_silent && !self.is_silent(key, now)) {
            self.pump_one(key, stream, now, out);
        }
    }

    fn admit(&mut self, expected: Expected, from: Path, now: Instant) -> Member {
        let (session, ufrag) = (expected.connection.session, expected.connection.ice.local_ufrag.clone());
        let connection = Connection::new(expected.connection, from, &self.dtls, now);
        let member = match expected.purpose {
            Purpose::Watch(setup) => self.admit_viewer(connection, setup, now),
            Purpose::Publish(setup) => {
                Member::Publisher(self.publishers.insert(Publisher::new(connection, setup, now)))
            }
        };
        self.by_session.insert(session, member);
        self.by_ufrag.insert(ufrag, member);
        member
    }

    fn admit_viewer(&mut self, connection: Connection, setup: Box<ViewerSetup>, now: Instant) -> Member {
        let stream = setup.stream;
        let key = self.viewers.insert(Viewer::new(connection, setup, now));
        self.streams.entry(stream).or_default().viewers.push(key);
        Member::Viewer(key)
    }

    fn viewer_of(&self, session: u64) -> Option<usize> {
        match self.by_session.get(&session)? {
            Member::Viewer(key) => Some(*key),
            Member::Publisher(_) => None,
        }
    }

    fn packet(&mut self, key: usize, kind: DatagramKind, datagram: &mut [u8], now: Instant, out: &mut impl Outlet) {
        let stream = self.viewers.get(key).map(|viewer| (viewer.setup.stream, viewer.is_connected()));
        let Some((stream, was_connected)) = stream else { return };
        let was_silent = self.is_silent(key, now);
        match kind {
            DatagramKind::Dtls => {
                self.with(key, now, out, |viewer, around| viewer.dtls(datagram, around));
                let connected = self.viewers.get(key).is_some_and(Viewer::is_connected);
                if connected && !was_connected {
                    self.changed = true;
                    self.pump_one(key, stream, now, out);
                }
            }
            DatagramKind::Rtp => {
                self.with(key, now, out, |viewer, around| {
                    viewer.rtp(datagram, around);
                    Ok(())
                });
            }
            DatagramKind::Rtcp => {
                let asked = self.with_stream(key, stream, now, out, |viewer, cache, around| {
                    Ok(viewer.rtcp(datagram, cache, around))
                });
                if asked == Some(true) {
                    self.want_keyframe(key, stream, now);
                }
            }
            DatagramKind::Stun | DatagramKind::Other => self.counters.strangers += 1,
        }
        self.resume(key, was_silent, now, out);
    }

    /// Ask for a keyframe of the layer that a viewer is to get.
    fn want_keyframe(&mut self, key: usize, stream: u64, now: Instant) {
        let layer = self.viewers.get(key).map(Viewer::wanted_layer);
        let (Some(layer), Some(watched)) = (layer, self.streams.get_mut(&stream)) else { return };
        if let Some(wish) = watched.wishes.get_mut(usize::from(layer)) {
            wish.is_wanted = true;
            ask_for_keyframe(wish, (stream, layer), now, &mut self.events);
        }
    }

    /// Do as told.
    pub fn command(&mut self, command: &Command, now: Instant, out: &mut impl Outlet) {
        match command {
            Command::Frame(stream, frame) => self.frame(*stream, frame, now, out),
            Command::Layers(stream, rates_bps) => self.streams.entry(*stream).or_default().cache.describe(rates_bps),
            Command::Audio(session, timestamp, opus_frame) => {
                if let Some(key) = self.viewer_of(*session) {
                    self.with(key, now, out, |viewer, around| {
                        viewer.send_audio(*timestamp, opus_frame, around);
                        Ok(())
                    });
                }
            }
            Command::Message(sessions, label, text) => {
                for session in sessions.iter() {
                    if let Some(key) = self.viewer_of(*session) {
                        self.with(key, now, out, |viewer, around| viewer.send_message(label, text, around));
                    }
                }
            }
            Command::RequestKeyframe(session, layer) => self.request_keyframe(*session, *layer, now, out),
            Command::Restart(session, ice) => self.restart(*session, ice),
            Command::Close { session, farewell } => self.close(*session, *farewell, now, out),
        }
    }

    fn close(&mut self, session: u64, farewell: bool, now: Instant, out: &mut impl Outlet) {
        match self.by_session.get(&session).copied() {
            Some(Member::Viewer(key)) => {
                if farewell {
                    self.with(key, now, out, |viewer, around| {
                        viewer.connection.close(around);
                        Ok(())
                    });
                }
                self.forget(key);
            }
            Some(Member::Publisher(key)) => self.close_publisher(key, farewell, now, out),
            None => {}
        }
    }

    fn frame(&mut self, stream: u64, frame: &Arc<PacketizedFrame>, now: Instant, out: &mut impl Outlet) {
        let watched = self.streams.entry(stream).or_default();
        if !watched.cache.push(Arc::clone(frame)) {
            // Every shard is told: one of them counts.
            self.counters.layers_refused += u64::from(self.index == 0);
            return;
        }
        if let Some(wish) = watched.wishes.get_mut(usize::from(frame.layer)) {
            wish.is_wanted &= !frame.keyframe;
        }
        let mut has_left = watched.left.is_some_and(|left| !frame.is_later_than(left));
        let mut at = 0;
        while let Some(key) = self.streams.get(&stream).and_then(|watched| watched.viewers.get(at)).copied() {
            self.pump_one(key, stream, now, out);
            let newest = self.viewers.get(key).and_then(Viewer::newest_sent);
            if !has_left && newest == Some(frame.timestamp) {
                has_left = true;
                self.note_left(stream, frame.timestamp);
            }
            // The place of a viewer that has ended is another's.
            at += usize::from(self.viewers.contains(key));
        }
    }

    fn note_left(&mut self, stream: u64, timestamp: u32) {
        if let Some(watched) = self.streams.get_mut(&stream) {
            watched.left = Some(timestamp);
        }
        self.events.push(Event::PictureLeft(stream, timestamp));
    }

    fn pump_one(&mut self, key: usize, stream: u64, now: Instant, out: &mut impl Outlet) {
        let pumped = self.with_stream(key, stream, now, out, |viewer, cache, around| {
            Ok(cache.map_or(Pumped::NeedsKeyframe, |cache| viewer.pump(cache, around)))
        });
        let Some(pumped) = pumped else { return };
        if pumped == Pumped::NeedsKeyframe {
            self.want_keyframe(key, stream, now);
        }
        if let Some(viewer) = self.viewers.get_mut(key)
            && pumped == Pumped::Behind
            && !viewer.is_behind
        {
            viewer.is_behind = true;
            if self.behind.is_empty() {
                self.next_piece = now + PIECE;
            }
            self.behind.push(key);
        }
    }

    /// Let time pass.
    pub fn tick(&mut self, now: Instant, out: &mut impl Outlet) {
        if now >= self.next_piece {
            self.next_piece = now + PIECE;
            for key in std::mem::take(&mut self.behind) {
                if let Some(viewer) = self.viewers.get_mut(key) {
                    viewer.is_behind = false;
                    let stream = viewer.setup.stream;
                    self.pump_one(key, stream, now, out);
                }
            }
        }
        if now >= self.next_publishing {
            self.tick_publishers(now, out);
        }
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP;
            self.sweep(now, out);
        }
    }

    fn sweep(&mut self, now: Instant, out: &mut impl Outlet) {
        for key in 0..self.viewers.capacity() {
            if let Some(stream) = self.viewers.get(key).map(|viewer| viewer.setup.stream) {
                let waits = self.with_stream(key, stream, now, out, |viewer, cache, around| {
                    viewer.tick(cache, around)?;
                    Ok(viewer.is_changing_layer(now))
                });
                if waits == Some(true) {
                    self.want_keyframe(key, stream, now);
                }
            }
        }
        for (stream, watched) in &mut self.streams {
            for (layer, wish) in (0..).zip(&mut watched.wishes) {
                ask_for_keyframe(wish, (*stream, layer), now, &mut self.events);
            }
            let fed = watched.cache.latest().is_some_and(|at| at + STREAM_IDLE > now);
            let used = fed || !watched.viewers.is_empty() || watched.cache.is_described();
            watched.unused_since = if used { None } else { watched.unused_since.or(Some(now)) };
        }
        self.streams.retain(|_, watched| watched.unused_since.is_none_or(|since| since + STREAM_IDLE > now));
        if self.index == 0 {
            self.events.extend(self.registry.expired(now).into_iter().map(Event::Gone));
        }
    }

    /// After a fault that was in no single client's handling: all clients of this shard are ended, so that they come
    /// again, and of streams only the layers are still known.
    pub fn begin_anew(&mut self, now: Instant) {
        let mut fresh = Self::new(self.index, self.dtls.clone(), self.clock, Arc::clone(&self.registry), now);
        fresh.counters = self.counters;
        fresh.counters.panics += 1;
        fresh.changed = true;
        fresh.events = std::mem::take(&mut self.events);
        for session in self.by_session.keys() {
            self.registry.forget(*session);
            fresh.events.push(Event::Gone(*session));
        }
        for (stream, watched) in self.streams.iter().filter(|(_, watched)| watched.cache.is_described()) {
            fresh.streams.entry(*stream).or_default().cache.describe(watched.cache.rates_bps());
        }
        *self = fresh;
    }

    fn with<O: Outlet, T>(
        &mut self,
        key: usize,
        now: Instant,
        out: &mut O,
        handle: impl FnOnce(&mut Viewer, &mut Surroundings<'_, O>) -> Result<T, Ended>,
    ) -> Option<T> {
        self.with_stream(key, u64::MAX, now, out, |viewer, _, around| handle(viewer, around))
    }

    /// Handle one viewer; whatever goes wrong ends this viewer alone.
    fn with_stream<O: Outlet, T>(
        &mut self,
        key: usize,
        stream: u64,
        now: Instant,
        out: &mut O,
        handle: impl FnOnce(&mut Viewer, Option<&LayeredStream>, &mut Surroundings<'_, O>) -> Result<T, Ended>,
    ) -> Option<T> {
        let viewer = self.viewers.get_mut(key)?;
        let cache = self.streams.get(&stream).map(|watched| &watched.cache);
        let mut around = Surroundings {
            now,
            clock: &self.clock,
            out,
            events: &mut self.events,
            counters: &mut self.counters,
            scratch: &mut self.scratch,
        };
        let session = viewer.session();
        match catch_unwind(AssertUnwindSafe(|| handle(viewer, cache, &mut around))) {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(Ended)) => {}
            Err(_) => self.counters.panics += 1,
        }
        self.forget(key);
        self.events.push(Event::Gone(session));
        None
    }

    fn forget(&mut self, key: usize) {
        let Some(viewer) = self.viewers.try_remove(key) else { return };
        self.forget_connection(&viewer.connection, Member::Viewer(key));
        self.behind.retain(|behind| *behind != key);
        if let Some(watched) = self.streams.get_mut(&viewer.setup.stream) {
            watched.viewers.retain(|watching| *watching != key);
        }
        self.changed = true;
    }

    fn forget_connection(&mut self, connection: &Connection, member: Member) {
        let setup = &connection.setup;
        self.paths.forget_all(member);
        if self.by_session.get(&setup.session) == Some(&member) {
            self.by_session.remove(&setup.session);
        }
        for ufrag in connection.ufrags() {
            self.by_ufrag.remove(ufrag);
        }
        self.registry.forget(setup.session);
    }
}

fn ask_for_keyframe(wish: &mut KeyframeWish, (stream, layer): (u64, u8), now: Instant, events: &mut Vec<Event>) {
    let recently = wish.asked.is_some_and(|asked| now.saturating_duration_since(asked) < KEYFRAME_INTERVAL);
    if wish.is_wanted && !recently {
        *wish = KeyframeWish { is_wanted: false, asked: Some(now) };
        events.push(Event::KeyframeNeeded(stream, layer));
    }
}
