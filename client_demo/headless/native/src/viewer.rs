//! One viewer, sans-IO: an offer, then from the answer on datagrams and time in, datagrams and events out.

use std::net::SocketAddr;
use std::sync::Arc;

use farstage_rtp::header::{DatagramKind, classify};
use farstage_transport::dtls::{DtlsConfig, DtlsEvent, DtlsPeer, Role, SrtpKeys};

use crate::clock::{Arrival, Clock};
use crate::counters::{Counters, Measures};
use crate::ice::{Ice, IceProgress};
use crate::media::{Keys, Media, Show};
use crate::outbox::Outbox;
use crate::random::Random;
use crate::sdp::{Answer, Credentials, Setup};

/// What all viewers of a run share.
pub struct ViewerSettings {
    /// Our certificate, one for all.
    pub dtls: DtlsConfig,
    /// Time between two transport-wide feedbacks, in microseconds.
    pub feedback_us: u64,
    /// The run's clock.
    pub clock: Clock,
    /// Seed of every viewer's randomness.
    pub seed: u64,
}

/// What happened to a viewer.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewerEvent {
    /// A check was answered: media will come from this address.
    Selected(SocketAddr),
    /// DTLS is complete; microseconds since the POST began.
    Connected(u64),
    /// The connection is over, for this reason.
    Failed(String),
}

/// What a viewer works with during a call: shared by all viewers of a thread.
pub struct Tools<'a> {
    /// Datagrams to send.
    pub out: &'a mut Outbox,
    /// Buffer for DTLS.
    pub scratch: &'a mut Vec<u8>,
    /// Distributions.
    pub measures: &'a mut Measures,
    /// Events of this viewer.
    pub events: &'a mut Vec<ViewerEvent>,
    /// Takes whole pictures, if the viewer verifies.
    pub show: Show<'a>,
}

/// A viewer from its offer to its end.
pub struct Viewer {
    settings: Arc<ViewerSettings>,
    credentials: Credentials,
    verify: bool,
    random: Random,
    posted_us: u64,
    connected_wall_us: Option<u64>,
    has_shown: bool,
    ended: bool,
    fingerprint: [u8; 32],
    role: Role,
    ice: Option<Ice>,
    dtls: Option<DtlsPeer>,
    dtls_due_us: u64,
    media: Option<Media>,
    counters: Counters,
}

impl Viewer {
    /// Viewer number `id`, which has credentials for an offer and waits for the answer.
    pub fn new(id: u64, settings: Arc<ViewerSettings>, verify: bool) -> Self {
        let random = Random::new(settings.seed, id);
        Self {
            settings,
            credentials: Credentials::new(),
            verify,
            random,
            posted_us: 0,
            connected_wall_us: None,
            has_shown: false,
            ended: false,
            fingerprint: [0; 32],
            role: Role::Client,
            ice: None,
            dtls: None,
            dtls_due_us: u64::MAX,
            media: None,
            counters: Counters::default(),
        }
    }

    /// Credentials for the offer.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Takes the answer to an offer that was posted at `posted_us`, and begins to connect to `candidates`.
    pub fn start(&mut self, answer: &Answer, candidates: &[SocketAddr], posted_us: u64, now_us: u64) {
        self.posted_us = posted_us;
        self.fingerprint = answer.fingerprint;
        self.role = match answer.setup {
            Setup::Passive => Role::Client,
            Setup::Active => Role::Server,
        };
        self.ice = Some(Ice::new(&self.credentials, answer, candidates, now_us));
    }

    /// Counters since the last call.
    pub fn take_counters(&mut self) -> Counters {
        let mut counters = std::mem::take(&mut self.counters);
        if let Some(media) = &mut self.media {
            counters.add(&media.take_counters());
        }
        counters
    }

    /// Whether DTLS is complete and the connection is not over.
    pub fn is_connected(&self) -> bool {
        self.connected_wall_us.is_some() && !self.ended
    }

    /// Whether the connection is over.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// When [`Viewer::tick`] has something to do next, in microseconds since the start.
    pub fn due_us(&self) -> u64 {
        if self.ended {
            return u64::MAX;
        }
        let ice = self.ice.as_ref().map_or(u64::MAX, Ice::due_us);
        let media = self.media.as_ref().map_or(u64::MAX, Media::due_us);
        ice.min(media).min(self.dtls_due_us)
    }

    /// Takes a datagram; it may be decrypted in place.
    pub fn receive(&mut self, datagram: &mut [u8], from: SocketAddr, arrival: Arrival, tools: &mut Tools<'_>) {
        match (classify(datagram), &mut self.media) {
            _ if self.ended => {}
            (DatagramKind::Rtp, Some(media)) => {
                media.receive_rtp(datagram, arrival, tools.measures, tools.show);
                self.note_first_picture(arrival.wall_us, tools);
            }
            (DatagramKind::Rtcp, Some(media)) => media.receive_rtcp(datagram, arrival.now_us),
            (DatagramKind::Stun, _) => self.receive_stun(datagram, from, arrival, tools),
            (DatagramKind::Dtls, _) => self.receive_dtls(datagram, arrival, tools),
            _ => self.counters.foreign_packets += 1,
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, arrival: Arrival, tools: &mut Tools<'_>) {
        if self.ended {
            return;
        }
        let now_us = arrival.now_us;
        let checked = self.ice.as_mut().map(|ice| ice.tick(now_us, &mut self.random, tools.out));
        if let Some(Err(reason)) = checked {
            self.fail(reason, tools);
            return;
        }
        if now_us >= self.dtls_due_us {
            self.drive_dtls(arrival, tools, |dtls, instant| dtls.handle_timeout(instant));
        }
        if self.media.as_ref().is_some_and(|media| media.due_us() <= now_us) {
            self.tick_media(arrival, tools);
        }
    }

    /// Says goodbye; nothing happens afterwards.
    pub fn leave(&mut self, arrival: Arrival, tools: &mut Tools<'_>) {
        if self.ended {
            return;
        }
        if let (Some(media), Some(to)) = (&mut self.media, self.ice.as_ref().and_then(Ice::selected)) {
            media.leave(tools.scratch);
            tools.out.push(to, tools.scratch);
        }
        self.drive_dtls(arrival, tools, |dtls, _| dtls.close());
        self.ended = true;
    }

    fn fail(&mut self, reason: String, tools: &mut Tools<'_>) {
        self.ended = true;
        tools.events.push(ViewerEvent::Failed(reason));
    }

    fn receive_stun(&mut self, datagram: &[u8], from: SocketAddr, arrival: Arrival, tools: &mut Tools<'_>) {
        let Some(ice) = &mut self.ice else {
            return;
        };
        match ice.receive(datagram, from, arrival.now_us, tools.out) {
            IceProgress::None => {}
            IceProgress::Refused => self.counters.foreign_packets += 1,
            IceProgress::Selected(address) => {
                tools.events.push(ViewerEvent::Selected(address));
                self.start_dtls(arrival, tools);
            }
        }
    }

    fn start_dtls(&mut self, arrival: Arrival, tools: &mut Tools<'_>) {
        let instant = self.settings.clock.instant(arrival.now_us);
        self.dtls = Some(DtlsPeer::new(self.role, &self.settings.dtls, self.fingerprint, instant));
        self.drive_dtls(arrival, tools, |dtls, instant| dtls.handle_timeout(instant));
    }

    fn receive_dtls(&mut self, datagram: &[u8], arrival: Arrival, tools: &mut Tools<'_>) {
        self.drive_dtls(arrival, tools, |dtls, instant| dtls.handle(datagram, instant));
    }

    /// Makes a call to DTLS and does what it then wants.
    fn drive_dtls(
        &mut self,
        arrival: Arrival,
        tools: &mut Tools<'_>,
        call: impl FnOnce(&mut DtlsPeer, std::time::Instant) -> Result<(), farstage_transport::dtls::DtlsError>,
    ) {
        let (Some(mut dtls), Some(to)) = (self.dtls.take(), self.ice.as_ref().and_then(Ice::selected)) else {
            return;
        };
        let mut result = call(&mut dtls, self.settings.clock.instant(arrival.now_us)).map(|()| false);
        while let Ok(false) = result {
            result = dtls.poll(tools.scratch).map(|event| match event {
                DtlsEvent::WakeAt(at) => {
                    self.dtls_due_us = self.settings.clock.micros(at);
                    true
                }
                DtlsEvent::Transmit(datagram) => {
                    tools.out.push(to, datagram);
                    false
                }
                event => self.take_dtls_event(event, arrival, tools.measures, tools.events),
            });
        }
        self.dtls = Some(dtls);
        if let Err(error) = result {
            self.fail(error.to_string(), tools);
        }
    }

    /// True if nothing more is to be polled.
    fn take_dtls_event(
        &mut self,
        event: DtlsEvent<'_>,
        arrival: Arrival,
        measures: &mut Measures,
        events: &mut Vec<ViewerEvent>,
    ) -> bool {
        match event {
            DtlsEvent::Keys(keys) => self.start_media(&keys, arrival.now_us),
            DtlsEvent::Connected => {
                self.connected_wall_us = Some(arrival.wall_us);
                let join_us = arrival.now_us.saturating_sub(self.posted_us);
                measures.join.record(join_us);
                events.push(ViewerEvent::Connected(join_us));
            }
            DtlsEvent::Closed => {
                self.ended = true;
                events.push(ViewerEvent::Failed("the server closed the connection".to_owned()));
                return true;
            }
            DtlsEvent::Transmit(_) | DtlsEvent::ApplicationData(_) | DtlsEvent::WakeAt(_) => {}
        }
        false
    }

    fn start_media(&mut self, keys: &SrtpKeys, now_us: u64) {
        let (Ok(outbound), Ok(inbound)) = (keys.outbound(), keys.inbound()) else {
            return;
        };
        let keys = Keys { profile: keys.profile, inbound, outbound };
        self.media = Some(Media::new(&keys, self.verify, self.settings.feedback_us, &mut self.random, now_us));
    }

    fn tick_media(&mut self, arrival: Arrival, tools: &mut Tools<'_>) {
        let (Some(media), Some(ice)) = (&mut self.media, &self.ice) else {
            return;
        };
        media.tick(arrival.now_us, ice.rtt_us(), tools.scratch, tools.show);
        if let (Some(to), false) = (ice.selected(), tools.scratch.is_empty()) {
            tools.out.push(to, tools.scratch);
        }
        self.note_first_picture(arrival.wall_us, tools);
    }

    /// Both ends of this time are arrivals at the socket: how late they were read is not the server's.
    fn note_first_picture(&mut self, wall_us: u64, tools: &mut Tools<'_>) {
        if self.has_shown || !self.media.as_ref().is_some_and(Media::has_seen_picture) {
            return;
        }
        if let Some(connected_wall_us) = self.connected_wall_us {
            self.has_shown = true;
            tools.measures.first_picture.record(wall_us.saturating_sub(connected_wall_us));
        }
    }
}
