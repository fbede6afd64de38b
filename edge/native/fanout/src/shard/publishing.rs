//! What a shard does with publishers: their packets, their timers, and that each ends alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use farstage_rtp::header::DatagramKind;
use farstage_transport::stun;

use super::{Member, Shard};
use crate::connection::{Ended, Surroundings};
use crate::events::Event;
use crate::outlet::{Outlet, Path};
use crate::publisher::Publisher;

/// How often publishers are looked at: a packet that is asked for again late comes too late.
const PUBLISHING_INTERVAL: Duration = Duration::from_millis(10);

impl Shard {
    pub(super) fn check_publisher(
        &mut self,
        key: usize,
        message: &stun::Message<'_>,
        from: Path,
        now: Instant,
        out: &mut impl Outlet,
    ) {
        match self
            .with_publisher(key, now, out, |publisher, around| Ok(publisher.connection.check(message, from, around)))
        {
            Some(true) => {
                let in_use = self.publishers.get(key).map(|publisher| publisher.connection.path);
                self.paths.note(from, Member::Publisher(key), in_use);
            }
            Some(false) => self.counters.stun_refused += 1,
            None => {}
        }
    }

    pub(super) fn publisher_packet(
        &mut self,
        key: usize,
        kind: DatagramKind,
        datagram: &mut [u8],
        now: Instant,
        out: &mut impl Outlet,
    ) {
        self.with_publisher(key, now, out, |publisher, around| {
            match kind {
                DatagramKind::Dtls => return publisher.dtls(datagram, around),
                DatagramKind::Rtp => publisher.rtp(datagram, around),
                DatagramKind::Rtcp => publisher.rtcp(datagram, around),
                DatagramKind::Stun | DatagramKind::Other => around.counters.strangers += 1,
            }
            Ok(())
        });
    }

    pub(super) fn request_keyframe(&mut self, session: u64, layer: usize, now: Instant, out: &mut impl Outlet) {
        if let Some(Member::Publisher(key)) = self.by_session.get(&session).copied() {
            self.with_publisher(key, now, out, |publisher, around| {
                publisher.request_keyframe(layer, around);
                Ok(())
            });
        }
    }

    pub(super) fn close_publisher(&mut self, key: usize, farewell: bool, now: Instant, out: &mut impl Outlet) {
        if farewell {
            self.with_publisher(key, now, out, |publisher, around| {
                publisher.connection.close(around);
                Ok(())
            });
        }
        self.forget_publisher(key);
    }

    pub(super) fn tick_publishers(&mut self, now: Instant, out: &mut impl Outlet) {
        self.next_publishing = now + PUBLISHING_INTERVAL;
        for key in 0..self.publishers.capacity() {
            self.with_publisher(key, now, out, |publisher, around| publisher.tick(around));
        }
    }

    /// Handle one publisher; whatever goes wrong ends this publisher alone.
    fn with_publisher<O: Outlet, T>(
        &mut self,
        key: usize,
        now: Instant,
        out: &mut O,
        handle: impl FnOnce(&mut Publisher, &mut Surroundings<'_, O>) -> Result<T, Ended>,
    ) -> Option<T> {
        let publisher = self.publishers.get_mut(key)?;
        let mut around = Surroundings {
            now,
            clock: &self.clock,
            out,
            events: &mut self.events,
            counters: &mut self.counters,
            scratch: &mut self.scratch,
        };
        let session = publisher.session();
        match catch_unwind(AssertUnwindSafe(|| handle(publisher, &mut around))) {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(Ended)) => {}
            Err(_) => self.counters.panics += 1,
        }
        self.forget_publisher(key);
        self.events.push(Event::Gone(session));
        None
    }

    fn forget_publisher(&mut self, key: usize) {
        let Some(publisher) = self.publishers.try_remove(key) else { return };
        self.forget_connection(&publisher.connection, Member::Publisher(key));
        self.changed = true;
    }
}
