//! A bad network between server and viewer, seeded: delay, jitter, loss, rate. It stands before everything a viewer
//! receives, so that the server sees its effects and nothing else.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde::Deserialize;

use crate::random::Random;

/// Most datagrams on the way to one viewer.
const MAX_QUEUED: usize = 4096;
/// A link of limited rate drops what would wait longer, as a router's queue does.
const MAX_QUEUE_US: u64 = 300_000;

/// What a bad network does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImpairmentSettings {
    /// Share of datagrams lost, 0 to 1.
    pub loss: f64,
    /// Delay of each datagram.
    pub delay_ms: f64,
    /// Deviation of the delay (normal, never negative): reorders.
    pub jitter_ms: f64,
    /// Rate of the link; 0 for no limit.
    pub rate_kbps: f64,
    /// Share of the viewers behind this network, 0 to 1.
    pub share: f64,
}

struct Queued {
    due_us: u64,
    order: u64,
    datagram: Vec<u8>,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.due_us, self.order) == (other.due_us, other.order)
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due_us, self.order).cmp(&(other.due_us, other.order))
    }
}

/// One viewer's bad network.
pub struct Impairment {
    settings: ImpairmentSettings,
    random: Random,
    queue: BinaryHeap<Reverse<Queued>>,
    spare: Vec<Vec<u8>>,
    order: u64,
    free_at_us: u64,
    dropped: u64,
}

impl Impairment {
    /// The network of viewer number `user`; the same seed loses the same datagrams.
    pub fn new(settings: ImpairmentSettings, seed: u64, user: u64) -> Self {
        Self {
            settings,
            random: Random::new(seed, user),
            queue: BinaryHeap::new(),
            spare: Vec::new(),
            order: 0,
            free_at_us: 0,
            dropped: 0,
        }
    }

    /// A datagram sets out; it is lost or comes out of [`Impairment::take_due`].
    pub fn push(&mut self, datagram: &[u8], now_us: u64) {
        let lost = self.random.unit() < self.settings.loss;
        let late_us = (self.settings.delay_ms + self.settings.jitter_ms * self.random.normal()).max(0.0) * 1000.0;
        let sent_us = self.serialise(datagram.len(), now_us);
        match sent_us {
            Some(sent_us) if !lost && self.queue.len() < MAX_QUEUED => self.keep(datagram, sent_us + late_us as u64),
            _ => self.dropped += 1,
        }
    }

    /// When the datagram has left a link of limited rate; `None` if the queue before it is too long.
    fn serialise(&mut self, length: usize, now_us: u64) -> Option<u64> {
        if self.settings.rate_kbps <= 0.0 {
            return Some(now_us);
        }
        let start_us = self.free_at_us.max(now_us);
        if start_us - now_us > MAX_QUEUE_US {
            return None;
        }
        self.free_at_us = start_us + (length as f64 * 8000.0 / self.settings.rate_kbps) as u64;
        Some(self.free_at_us)
    }

    fn keep(&mut self, datagram: &[u8], due_us: u64) {
        let mut kept = self.spare.pop().unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(datagram);
        self.order += 1;
        self.queue.push(Reverse(Queued { due_us, order: self.order, datagram: kept }));
    }

    /// The next datagram that has arrived by now; give it back with [`Impairment::recycle`].
    pub fn take_due(&mut self, now_us: u64) -> Option<Vec<u8>> {
        if self.due_us()? > now_us {
            return None;
        }
        self.queue.pop().map(|Reverse(queued)| queued.datagram)
    }

    /// Takes back a datagram's memory.
    pub fn recycle(&mut self, datagram: Vec<u8>) {
        self.spare.push(datagram);
    }

    /// When the next datagram arrives.
    pub fn due_us(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse(queued)| queued.due_us)
    }

    /// Datagrams lost on purpose since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(settings: ImpairmentSettings, count: u64, every_us: u64) -> Vec<(u64, u8)> {
        let mut impairment = Impairment::new(settings, 7, 3);
        let mut arrived = Vec::new();
        for index in 0..count {
            impairment.push(&[index as u8; 1000], index * every_us);
        }
        while let Some(due_us) = impairment.due_us() {
            let datagram = impairment.take_due(due_us).unwrap();
            arrived.push((due_us, datagram[0]));
            impairment.recycle(datagram);
        }
        assert_eq!(arrived.len() as u64 + impairment.take_dropped(), count);
        arrived
    }

    #[test]
    fn loses_the_asked_share_and_the_same_each_time() {
        let settings = ImpairmentSettings { loss: 0.1, ..ImpairmentSettings::default() };
        let first = arrivals(settings, 4000, 10);
        assert!((3_500..3_700).contains(&first.len()), "{}", first.len());
        assert_eq!(first, arrivals(settings, 4000, 10));
    }

    #[test]
    fn delays_and_reorders() {
        let late = arrivals(ImpairmentSettings { delay_ms: 40.0, ..ImpairmentSettings::default() }, 10, 1000);
        assert!(
            late.iter().enumerate().all(|(index, arrival)| *arrival == (40_000 + index as u64 * 1000, index as u8))
        );
        let settings = ImpairmentSettings { delay_ms: 40.0, jitter_ms: 10.0, ..ImpairmentSettings::default() };
        let mixed = arrivals(settings, 100, 1000);
        assert!(!mixed.is_sorted_by_key(|arrival| arrival.1));
        assert!(mixed.iter().all(|(due_us, index)| due_us - u64::from(*index) * 1000 < 100_000));
    }

    #[test]
    fn limits_the_rate_and_the_queue() {
        let arrived = arrivals(ImpairmentSettings { rate_kbps: 800.0, ..ImpairmentSettings::default() }, 200, 0);
        assert_eq!(arrived[0].0, 10_000);
        assert_eq!(arrived.last().unwrap().0, 310_000);
    }
}
