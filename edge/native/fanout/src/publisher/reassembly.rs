//! Packets of one layer put in order, and pictures put together from them.
//!
//! A packet that is missing holds back what follows until it comes or is given up. A picture of which a part is given up
//! is lost whole, and so is one whose beginning may have been.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use farstage_rtp::depacketize::{Depacketizer, starts_frame};
use farstage_rtp::packetize::Codec;

use crate::stream::MAX_FRAME_BYTES;

/// Packets that wait for one that is missing. A publisher that leaves larger gaps loses what came before them.
const MAX_WAITING: usize = 2_048;

/// One packet, decrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) arrived: Instant,
    /// Empty for a packet that only fills the line.
    pub(super) payload: Vec<u8>,
}

/// A picture that is whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Assembled {
    pub(super) sequence: u32,
    pub(super) timestamp: u32,
    /// When its first packet came.
    pub(super) arrived: Instant,
    pub(super) payload: Vec<u8>,
}

#[derive(Debug)]
enum Slot {
    Missing(Instant),
    Present(Packet),
}

/// What came before the next packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The packet before it.
    Packet,
    /// Packets that are given up, whose loss has cost a picture already.
    CountedGap,
    /// Packets that are given up.
    Gap,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Reassembly {
    codec: Codec,
    depacketizer: Depacketizer,
    /// The packets from the next one on, by sequence number with its rollovers.
    slots: VecDeque<Slot>,
    next: Option<u64>,
    before: Before,
    /// RTP time and arrival of the picture whose packets are coming.
    open: Option<(u32, Instant)>,
    /// RTP time of the picture that is lost while its packets are coming.
    lost: Option<u32>,
    sequence: u32,
    /// Pictures lost.
    pub(super) pictures_lost: u64,
}

impl Reassembly {
    /// Nothing has come.
    pub(super) fn new(codec: Codec) -> Self {
        Self {
            codec,
            depacketizer: Depacketizer::new(codec),
            slots: VecDeque::new(),
            next: None,
            before: Before::CountedGap,
            open: None,
            lost: None,
            sequence: 0,
            pictures_lost: 0,
        }
    }

    /// The packet that is waited for or comes next.
    pub(super) fn next(&self) -> Option<u64> {
        self.next
    }

    /// The source numbers its packets anew: what waits is lost.
    pub(super) fn restart(&mut self) {
        if self.next.take().is_some() {
            self.slots.clear();
            self.leave_gap();
        }
    }

    /// A packet arrived, in any order; one that came too late or twice is dropped.
    pub(super) fn insert(&mut self, index: u64, packet: Packet) {
        let next = *self.next.get_or_insert(index);
        let Some(offset) = index.checked_sub(next).and_then(|offset| usize::try_from(offset).ok()) else { return };
        if offset >= MAX_WAITING {
            self.slots.clear();
            self.next = Some(index);
            self.leave_gap();
            self.slots.push_back(Slot::Present(packet));
            return;
        }
        while self.slots.len() <= offset {
            self.slots.push_back(Slot::Missing(packet.arrived));
        }
        if let Some(slot @ Slot::Missing(_)) = self.slots.get_mut(offset) {
            *slot = Slot::Present(packet);
        }
    }

    /// The pictures that are whole by now, where a packet missing for longer than `patience` is given up.
    pub(super) fn take(&mut self, now: Instant, patience: Duration) -> Vec<Assembled> {
        let mut whole = Vec::new();
        while let Some(slot) = self.slots.front() {
            match slot {
                Slot::Missing(since) if now.saturating_duration_since(*since) < patience => break,
                Slot::Missing(_) => self.leave_gap(),
                Slot::Present(_) => {}
            }
            self.next = self.next.map(|next| next + 1);
            if let Some(Slot::Present(packet)) = self.slots.pop_front() {
                self.consume(&packet, &mut whole);
            }
        }
        whole
    }

    fn leave_gap(&mut self) {
        if let Some((timestamp, _)) = self.open {
            self.lose(timestamp);
            self.before = Before::CountedGap;
        } else if self.before == Before::Packet {
            self.before = Before::Gap;
        }
    }

    /// The next packet in order. It ends the picture before, if that had no marker, and perhaps its own.
    fn consume(&mut self, packet: &Packet, whole: &mut Vec<Assembled>) {
        if packet.payload.is_empty() {
            return;
        }
        if self.open.is_some_and(|(timestamp, _)| timestamp != packet.timestamp) {
            whole.extend(self.finish());
        }
        if self.begins(packet) && self.depacketizer.push(&packet.payload).is_err() {
            self.lose(packet.timestamp);
        }
        if packet.marker {
            whole.extend(self.finish());
        }
    }

    /// Whether the packet belongs to a picture that may be whole.
    fn begins(&mut self, packet: &Packet) -> bool {
        if self.lost == Some(packet.timestamp) {
            return false;
        }
        if self.open.is_some() {
            return true;
        }
        let before = std::mem::replace(&mut self.before, Before::Packet);
        if before != Before::Packet && !starts_frame(self.codec, &packet.payload) {
            self.lose(packet.timestamp);
            return false;
        }
        if before == Before::Gap {
            self.lose_one();
        }
        self.open = Some((packet.timestamp, packet.arrived));
        self.lost = None;
        true
    }

    fn finish(&mut self) -> Option<Assembled> {
        let (timestamp, arrived) = self.open.take()?;
        let mut payload = Vec::new();
        let is_whole = self.depacketizer.finish(&mut payload).is_ok() && payload.len() <= MAX_FRAME_BYTES;
        if !is_whole {
            self.lose(timestamp);
            return None;
        }
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Some(Assembled { sequence, timestamp, arrived, payload })
    }

    /// The picture of this RTP time is lost: its number stays unused, and its further packets are.
    fn lose(&mut self, timestamp: u32) {
        self.depacketizer.clear();
        self.open = None;
        self.lost = Some(timestamp);
        self.lose_one();
    }

    fn lose_one(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
        self.pictures_lost += 1;
    }
}
