//! One connection from the first connectivity check to the end, whichever way its media goes.
//!
//! ICE is lite (RFC 8445, section 2.5): the client checks, the edge answers from the address that was checked and never
//! sends anywhere else. DTLS starts when a check has proved the client's password, so nothing is sent to strangers.

use std::time::{Duration, Instant};

use farstage_rtp::srtp::{SrtpReceiver, SrtpSender};
use farstage_transport::dtls::{DtlsConfig, DtlsError, DtlsEvent, DtlsPeer, Role, SrtpKeys};
use farstage_transport::stun;

use crate::clock::WireClock;
use crate::events::{Counters, Event};
use crate::ice::IceCredentials;
use crate::outlet::{Outlet, Path};

/// Nothing is sent to a client that has proved nothing for this long (RFC 7675 asks for a bound; browsers report each
/// second).
const CONSENT: Duration = Duration::from_millis(4_500);
/// A client that has proved nothing for this long is gone.
const GONE_AFTER: Duration = Duration::from_secs(20);

/// How a client that was answered and has not come yet is known.
pub struct ConnectionSetup {
    /// Number of its session.
    pub session: u64,
    /// By what its checks are known.
    pub ice: IceCredentials,
    /// SHA-256 of its certificate.
    pub remote_fingerprint: [u8; 32],
    /// Whether the edge starts the DTLS handshake.
    pub starts_dtls: bool,
    /// It must have come by then.
    pub deadline: Instant,
}

/// What handling a connection needs of its surroundings.
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

/// Why a connection cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended;

/// What encrypts and decrypts, once the handshake has agreed on it.
pub(crate) struct Keys {
    pub(crate) sender: SrtpSender,
    pub(crate) receiver: SrtpReceiver,
}

impl Keys {
    fn of(keys: &SrtpKeys) -> Option<Self> {
        let (outbound, inbound) = (keys.outbound().ok()?, keys.inbound().ok()?);
        let profile = keys.profile;
        Some(Self { sender: SrtpSender::new(profile, &outbound), receiver: SrtpReceiver::new(profile, &inbound) })
    }
}

/// See the module.
pub struct Connection {
    /// How it is known.
    pub setup: ConnectionSetup,
    /// Where the client is reached.
    pub path: Path,
    pub(crate) keys: Option<Keys>,
    /// What ICE restarts with, until a check has come by it.
    restarting: Option<IceCredentials>,
    /// Our user name fragment before a restart that has just come about.
    retired: Option<String>,
    dtls: DtlsPeer,
    connected: bool,
    last_heard: Instant,
    wake_at: Option<Instant>,
}

impl Connection {
    /// The client's first check came, by `path`.
    pub fn new(setup: ConnectionSetup, path: Path, dtls: &DtlsConfig, now: Instant) -> Self {
        let role = if setup.starts_dtls { Role::Client } else { Role::Server };
        Self {
            dtls: DtlsPeer::new(role, dtls, setup.remote_fingerprint, now),
            setup,
            path,
            keys: None,
            restarting: None,
            retired: None,
            connected: false,
            last_heard: now,
            wake_at: Some(now),
        }
    }

    /// Number of its session.
    pub fn session(&self) -> u64 {
        self.setup.session
    }

    /// Whether the handshake is complete.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether the client has proved lately that it wants to be sent to.
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
    /// Returns our fragment of an earlier restart that no check has come by.
    pub fn restart(&mut self, ice: IceCredentials) -> Option<String> {
        if ice.local_ufrag == self.setup.ice.local_ufrag {
            return None;
        }
        self.restarting.replace(ice).map(|abandoned| abandoned.local_ufrag)
    }

    fn finish_restart(&mut self) {
        if let Some(ice) = self.restarting.take() {
            self.retired = Some(std::mem::replace(&mut self.setup.ice, ice).local_ufrag);
        }
    }

    /// Our fragment by which checks are no longer known, told once.
    pub fn take_retired(&mut self) -> Option<String> {
        self.retired.take()
    }

    /// Our user name fragments by which its checks are known: that in use, then that of a restart.
    pub fn ufrags(&self) -> impl Iterator<Item = &str> {
        let restarting = self.restarting.as_ref().map(|restarting| restarting.local_ufrag.as_str());
        std::iter::once(self.setup.ice.local_ufrag.as_str()).chain(restarting)
    }

    /// A DTLS datagram. Returns the messages that came with it.
    pub fn dtls<O: Outlet>(
        &mut self,
        datagram: &[u8],
        around: &mut Surroundings<'_, O>,
    ) -> Result<Vec<Vec<u8>>, Ended> {
        let handled = self.dtls.handle(datagram, around.now);
        self.drain(handled, around)
    }

    fn drain<O: Outlet>(
        &mut self,
        handled: Result<(), DtlsError>,
        around: &mut Surroundings<'_, O>,
    ) -> Result<Vec<Vec<u8>>, Ended> {
        if handled.is_err() {
            around.counters.dtls_failed += u64::from(!self.connected);
            return Err(Ended);
        }
        let mut messages = Vec::new();
        let may_send = self.consents(around.now);
        loop {
            match self.dtls.poll(around.scratch) {
                Ok(DtlsEvent::Transmit(datagram)) if may_send => {
                    around.out.datagram(self.path, datagram);
                }
                Ok(DtlsEvent::Transmit(_)) => {}
                Ok(DtlsEvent::Keys(keys)) => self.keys = Some(Keys::of(&keys).ok_or(Ended)?),
                Ok(DtlsEvent::Connected) => {
                    self.connected = true;
                    self.last_heard = around.now;
                    around.events.push(Event::Connected(self.setup.session));
                }
                Ok(DtlsEvent::ApplicationData(data)) => messages.push(data.to_vec()),
                Ok(DtlsEvent::Closed) => return Err(Ended),
                Ok(DtlsEvent::WakeAt(at)) => {
                    self.wake_at = Some(at);
                    return Ok(messages);
                }
                Err(_) => {
                    around.counters.dtls_failed += u64::from(!self.connected);
                    return Err(Ended);
                }
            }
        }
    }

    /// Send a message over DTLS.
    pub fn send_message<O: Outlet>(&mut self, message: &[u8], around: &mut Surroundings<'_, O>) -> Result<(), Ended> {
        self.dtls.send_application_data(message).map_err(|_| Ended)?;
        self.flush(around)
    }

    fn flush<O: Outlet>(&mut self, around: &mut Surroundings<'_, O>) -> Result<(), Ended> {
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

    /// Decrypt a packet in place. `None` for one that is not authentic, which is counted, or that came before the keys;
    /// an authentic one proves that its sender is there.
    pub(crate) fn open<T, E, O: Outlet>(
        &mut self,
        around: &mut Surroundings<'_, O>,
        unprotect: impl FnOnce(&mut SrtpReceiver) -> Result<T, E>,
    ) -> Option<T> {
        let keys = self.keys.as_mut()?;
        let opened = unprotect(&mut keys.receiver);
        match opened {
            Ok(_) => self.last_heard = around.now,
            Err(_) => around.counters.srtp_refused += 1,
        }
        opened.ok()
    }

    /// Encrypt a compound of RTCP and send it.
    pub(crate) fn send_rtcp<O: Outlet>(&mut self, mut compound: Vec<u8>, around: &mut Surroundings<'_, O>) {
        let Some(keys) = &mut self.keys else { return };
        if keys.sender.protect_rtcp(&mut compound).is_ok() {
            around.out.datagram(self.path, &compound);
        }
    }

    /// Let time pass: the timers of DTLS, and consent. Returns the messages that came of it.
    pub fn tick<O: Outlet>(&mut self, around: &mut Surroundings<'_, O>) -> Result<Vec<Vec<u8>>, Ended> {
        let now = around.now;
        if now.saturating_duration_since(self.last_heard) > GONE_AFTER {
            return Err(Ended);
        }
        if !self.connected && now >= self.setup.deadline {
            return Err(Ended);
        }
        if self.wake_at.is_none_or(|at| at > now) {
            return Ok(Vec::new());
        }
        self.wake_at = None;
        let handled = self.dtls.handle_timeout(now);
        self.drain(handled, around)
    }

    /// Say goodbye.
    pub fn close<O: Outlet>(&mut self, around: &mut Surroundings<'_, O>) {
        if self.dtls.close().is_ok() && self.connected {
            let _ = self.flush(around);
        }
    }
}
