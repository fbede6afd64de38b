//! One thread with many viewers: sockets, timers, events.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use crate::assembly::Whole;
use crate::clock::{Arrival, Clock};
use crate::impairment::Impairment;
use crate::link::{Link, TcpLink};
use crate::news::{End, News, Tally};
use crate::outbox::Outbox;
use crate::outlet::Outlet;
use crate::protocol::{Command, Configuration, Output};
use crate::sdp::{Answer, Offer};
use crate::slot::Slot;
use crate::sockets::{Batch, Interest, Poller};
use crate::viewer::{Tools, Viewer, ViewerEvent, ViewerSettings};

/// The name of the wake-up socket in the poller.
const WAKE: u64 = u64::MAX;
const PUBLISH_US: u64 = 1_000_000;

/// What a thread is made of.
pub struct WorkerParts {
    /// Its number.
    pub index: usize,
    /// The run's configuration.
    pub configuration: Arc<Configuration>,
    /// What all viewers share.
    pub settings: Arc<ViewerSettings>,
    /// Where its news go.
    pub news: Sender<News>,
}

/// One thread.
pub struct Worker {
    parts: WorkerParts,
    poller: Poller,
    slots: HashMap<u64, Slot>,
    timers: BinaryHeap<Reverse<(u64, u64)>>,
    out: Outbox,
    scratch: Vec<u8>,
    events: Vec<ViewerEvent>,
    end: End,
    outlet: Option<Outlet>,
    publish_us: u64,
}

impl Worker {
    /// A thread without viewers.
    ///
    /// # Errors
    /// Those of epoll, or of the socket for pictures.
    pub fn new(parts: WorkerParts) -> std::io::Result<Self> {
        let outlet = parts.configuration.pictures.as_deref().map(Outlet::connect).transpose()?;
        Ok(Self {
            parts,
            poller: Poller::new()?,
            slots: HashMap::new(),
            timers: BinaryHeap::new(),
            out: Outbox::default(),
            scratch: Vec::new(),
            events: Vec::new(),
            end: End::default(),
            outlet,
            publish_us: PUBLISH_US,
        })
    }

    /// Works until it is told to finish or nobody can tell it any more. `wake` is written to after each command.
    pub fn run(mut self, commands: &Receiver<Command>, mut wake: UnixStream) {
        if self.poller.add(&wake, WAKE, Interest::Read).is_err() || wake.set_nonblocking(true).is_err() {
            return;
        }
        let (mut batch, mut ready) = (Batch::new(), Vec::new());
        loop {
            ready.clear();
            self.poller.wait(self.patience(), &mut ready);
            for name in &ready {
                if *name != WAKE {
                    self.read(*name, &mut batch);
                } else if !drain(&mut wake) || !self.obey(commands) {
                    return self.finish();
                }
            }
            self.run_timers();
            self.publish();
        }
    }

    fn clock(&self) -> &Clock {
        &self.parts.settings.clock
    }

    fn now(&self) -> Arrival {
        Arrival { now_us: self.clock().now_us(), wall_us: Clock::wall_us() }
    }

    fn say(&self, news: News) {
        // Nobody listens only when the process is ending.
        let _ = self.parts.news.send(news);
    }

    fn patience(&self) -> Duration {
        let timer = self.timers.peek().map_or(u64::MAX, |Reverse((due_us, _))| *due_us);
        Duration::from_micros(timer.min(self.publish_us).saturating_sub(self.clock().now_us()))
    }

    /// Carries out what was commanded; false if that was to finish.
    fn obey(&mut self, commands: &Receiver<Command>) -> bool {
        while let Ok(command) = commands.try_recv() {
            match command {
                Command::Offer { viewer, verify, decode, impaired } => self.offer(viewer, verify, decode, impaired),
                Command::Answer { viewer, sdp, posted_ms_ago } => self.answer(viewer, &sdp, posted_ms_ago),
                Command::Leave { viewer } => self.leave(viewer),
                Command::Mark => self.mark(),
                Command::Finish => return false,
            }
        }
        true
    }

    fn offer(&mut self, id: u64, verify: bool, decode: bool, impaired: bool) {
        let configuration = self.parts.configuration.clone();
        let settings = self.parts.settings.clone();
        let viewer = Viewer::new(id, settings.clone(), verify || decode);
        let impairment = impaired.then(|| Impairment::new(configuration.impairment, settings.seed, id));
        let (link, port) = match self.open(id, &configuration) {
            Ok(opened) => opened,
            Err(error) => return self.fail(id, format!("no socket for the viewer: {error}")),
        };
        let offer = Offer {
            credentials: viewer.credentials(),
            fingerprint: settings.dtls.fingerprint(),
            host: SocketAddr::new(configuration.local_address, port),
            tcp: configuration.tcp,
            codecs: configuration.codecs,
            audio: configuration.audio,
        };
        self.say(News::Line(Output::Offer { viewer: id, sdp: offer.to_sdp() }));
        self.slots.insert(id, Slot::new(viewer, link, impairment, decode));
    }

    fn open(&self, id: u64, configuration: &Configuration) -> std::io::Result<(Option<Link>, u16)> {
        if configuration.tcp {
            return Ok((None, 9));
        }
        let any = match configuration.local_address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let (link, _) = Link::udp(any, configuration.receive_buffer)?;
        let Link::Udp { socket, .. } = &link else {
            return Ok((None, 9));
        };
        self.poller.add(socket, id, Interest::Read)?;
        let port = socket.local_addr()?.port();
        Ok((Some(link), port))
    }

    fn answer(&mut self, id: u64, sdp: &str, posted_ms_ago: f64) {
        let arrival = self.now();
        let answer = match Answer::parse(sdp) {
            Ok(answer) => answer,
            Err(error) => return self.fail(id, error.to_string()),
        };
        let candidates = match self.choose(id, &answer) {
            Ok(candidates) => candidates,
            Err(reason) => return self.fail(id, reason),
        };
        let posted_us = arrival.now_us.saturating_sub((posted_ms_ago.clamp(0.0, 3.6e6) * 1000.0) as u64);
        self.visit(id, |slot, tools| {
            slot.viewer.start(&answer, &candidates, posted_us, arrival.now_us);
            slot.viewer.tick(arrival, tools);
        });
    }

    /// The candidates to check; opens the TCP connection where there is no way by UDP.
    fn choose(&mut self, id: u64, answer: &Answer) -> Result<Vec<SocketAddr>, String> {
        let configuration = &self.parts.configuration;
        let reachable = |address: &&SocketAddr| address.is_ipv4() == configuration.local_address.is_ipv4();
        let udp: Vec<SocketAddr> = answer.udp.iter().filter(reachable).copied().collect();
        if !udp.is_empty() && !configuration.tcp {
            return Ok(udp);
        }
        let tcp = answer.tcp.iter().find(reachable);
        let to = *tcp.ok_or("the answer has no candidate of our transport and address family")?;
        let link = TcpLink::connect(to, id, &self.poller).map_err(|error| format!("TCP to {to}: {error}"))?;
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.link = Some(Link::Tcp(Box::new(link)));
        }
        Ok(vec![to])
    }

    fn leave(&mut self, id: u64) {
        let arrival = self.now();
        self.visit(id, |slot, tools| slot.viewer.leave(arrival, tools));
        self.remove(id);
    }

    fn remove(&mut self, id: u64) {
        if let Some(mut slot) = self.slots.remove(&id) {
            self.count(&mut slot);
            self.end.tally.viewers_with_loss += u64::from(slot.lost > 0 && slot.impairment.is_none());
        }
    }

    fn count(&mut self, slot: &mut Slot) {
        let counters = slot.take_counters();
        let tally = &mut self.end.tally;
        if slot.impairment.is_some() { &mut tally.impaired } else { &mut tally.clean }.add(&counters);
    }

    fn fail(&mut self, id: u64, reason: String) {
        self.remove(id);
        self.say(News::Line(Output::Failed { viewer: id, reason }));
    }

    fn mark(&mut self) {
        self.tally();
        let (connected, watching) = (self.end.tally.connected, self.end.tally.watching);
        self.end.tally = Tally { connected, watching, ..Tally::default() };
        self.end.measures.capture_to_arrival.clear();
        self.end.measures.picture_interval.clear();
        self.slots.values_mut().for_each(|slot| slot.lost = 0);
    }

    fn read(&mut self, id: u64, batch: &mut Batch) {
        let result = match self.slots.get_mut(&id).map(|slot| &mut slot.link) {
            Some(Some(Link::Udp { socket, peer })) => match batch.receive(socket) {
                Ok(count) => {
                    self.take(id, batch, count);
                    Ok(())
                }
                Err(error) if error.kind() == ErrorKind::ConnectionRefused && peer.is_none() => Ok(()),
                Err(error) => Err(error),
            },
            Some(Some(Link::Tcp(_))) => self.read_tcp(id),
            _ => Ok(()),
        };
        match result {
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                self.fail(id, lost_link(&error));
            }
            _ => {}
        }
    }

    fn take(&mut self, id: u64, batch: &mut Batch, count: usize) {
        let now = self.now();
        self.visit(id, |slot, tools| {
            for index in 0..count {
                if let Some(reception) = batch.reception(index) {
                    slot.take(reception, now, tools);
                }
            }
        });
    }

    fn read_tcp(&mut self, id: u64) -> std::io::Result<()> {
        let Some(Slot { link: link @ Some(_), .. }) = self.slots.get_mut(&id) else {
            return Ok(());
        };
        let Some(Link::Tcp(mut tcp)) = link.take() else {
            return Ok(());
        };
        let arrival = self.now();
        tcp.write_ready(&self.poller).and_then(|()| {
            let (from, mut frames) = (tcp.peer, Vec::new());
            let read = tcp.read(|frame| frames.push(frame.to_vec()));
            self.visit(id, |slot, tools| {
                slot.link = Some(Link::Tcp(tcp));
                frames.iter_mut().for_each(|frame| slot.take_datagram(frame, from, arrival, tools));
            });
            read
        })
    }

    fn run_timers(&mut self) {
        let arrival = self.now();
        while let Some(Reverse((due_us, id))) = self.timers.peek().copied() {
            if due_us > arrival.now_us {
                return;
            }
            self.timers.pop();
            if self.slots.get(&id).is_some_and(|slot| slot.scheduled_us == due_us) {
                self.visit(id, |slot, tools| {
                    slot.scheduled_us = u64::MAX;
                    slot.tick(arrival, tools);
                });
            }
        }
    }

    /// Does something with a viewer, and then what it wants done.
    fn visit(&mut self, id: u64, call: impl FnOnce(&mut Slot, &mut Tools<'_>)) {
        let Self { slots, out, scratch, events, end, outlet, timers, .. } = self;
        let Some(slot) = slots.get_mut(&id) else {
            return;
        };
        let decode = slot.decode;
        let mut show = |whole: Whole<'_>, wall_us: u64| {
            if let (true, Some(outlet)) = (decode, outlet.as_mut()) {
                outlet.send(id, whole, wall_us);
            }
        };
        let measures = if slot.impairment.is_some() { &mut end.impaired_measures } else { &mut end.measures };
        call(slot, &mut Tools { out, scratch, measures, events, show: &mut show });
        let due_us = slot.due_us();
        if due_us < slot.scheduled_us {
            slot.scheduled_us = due_us;
            timers.push(Reverse((due_us, id)));
        }
        if !self.out.is_empty() || !self.events.is_empty() {
            self.settle(id);
        }
    }

    /// Sends a viewer's datagrams and tells its events.
    fn settle(&mut self, id: u64) {
        let mut failure = None;
        for event in std::mem::take(&mut self.events) {
            match event {
                ViewerEvent::Selected(address) => {
                    self.slots
                        .get_mut(&id)
                        .and_then(|slot| slot.link.as_mut())
                        .into_iter()
                        .for_each(|link| link.connect(address));
                }
                ViewerEvent::Connected(join_us) => {
                    let join_ms = join_us as f64 / 1000.0;
                    self.say(News::Line(Output::Connected { viewer: id, join_ms }));
                }
                ViewerEvent::Failed(reason) => failure = Some(reason),
            }
        }
        if let Some(link) = self.slots.get_mut(&id).and_then(|slot| slot.link.as_mut()) {
            let sent = self.out.datagrams().try_for_each(|(to, datagram)| link.send(to, datagram));
            failure = failure.or(sent.err().map(|error| lost_link(&error)));
        }
        self.out.clear();
        if let Some(reason) = failure {
            self.fail(id, reason);
        }
    }

    /// Brings the counters up to date.
    fn tally(&mut self) -> Tally {
        let mut slots = std::mem::take(&mut self.slots);
        slots.values_mut().for_each(|slot| self.count(slot));
        let losing = slots.values().filter(|slot| slot.lost > 0 && slot.impairment.is_none()).count() as u64;
        self.end.tally.connected = slots.values().filter(|slot| slot.viewer.is_connected()).count() as u64;
        let measures = [&self.end.measures, &self.end.impaired_measures];
        self.end.tally.watching = measures.map(|measures| measures.first_picture.count()).iter().sum();
        self.slots = slots;
        let mut tally = self.end.tally.clone();
        tally.viewers_with_loss += losing;
        tally
    }

    fn publish(&mut self) {
        let now_us = self.clock().now_us();
        if now_us < self.publish_us {
            return;
        }
        self.publish_us = now_us - now_us % PUBLISH_US + PUBLISH_US;
        if let Some(outlet) = &mut self.outlet {
            outlet.flush();
        }
        let tally = self.tally();
        self.say(News::Tally(self.parts.index, tally));
    }

    fn finish(mut self) {
        let tally = self.tally();
        let ids: Vec<u64> = self.slots.keys().copied().collect();
        ids.into_iter().for_each(|id| self.leave(id));
        let mut end = std::mem::take(&mut self.end);
        end.tally = tally;
        end.pictures_dropped = self.outlet.as_ref().map_or(0, Outlet::dropped);
        self.say(News::End(self.parts.index, Box::new(end)));
    }
}

fn lost_link(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "the server's port is closed".to_owned(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => "the server closed the TCP connection".to_owned(),
        _ => format!("the socket failed: {error}"),
    }
}

/// Empties the wake-up socket; false once nobody can write to it any more.
fn drain(wake: &mut UnixStream) -> bool {
    let mut octets = [0; 256];
    loop {
        match wake.read(&mut octets) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}
