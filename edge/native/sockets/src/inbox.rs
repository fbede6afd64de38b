//! What other threads put before a shard, and what shards put before the engine's owner.

use std::sync::{Mutex, PoisonError};

use farstage_fanout::events::{Command, Event};
use farstage_fanout::outlet::Path;

use crate::poller::Waker;
use crate::tcp::Connection;

/// Events that wait for their owner; beyond, the owner is stuck and the newest are dropped.
const MAX_EVENTS: usize = 100_000;
/// Bytes of pictures that wait likewise: beyond, publishers' pictures are dropped, which their numbers show.
const MAX_PICTURE_BYTES: usize = 64 << 20;

/// One thing for a shard to do.
pub enum Item {
    /// What the engine's owner says.
    Command(Command),
    /// A datagram of one of its viewers that reached another shard.
    Stray(Path, Vec<u8>),
    /// A connection of one of its viewers that another shard accepted, the frame that told, and those that came with it.
    Adopt(Connection, Vec<Vec<u8>>),
    /// End.
    Stop,
    /// Fail as nothing should.
    #[cfg(test)]
    Fault,
}

/// A queue with a waker.
pub struct Inbox {
    items: Mutex<Vec<Item>>,
    /// Readable while there are items.
    pub waker: Waker,
}

impl Inbox {
    /// Empty.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { items: Mutex::default(), waker: Waker::new()? })
    }

    /// Add an item and wake.
    pub fn push(&self, item: Item) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = items.is_empty();
        items.push(item);
        drop(items);
        if was_empty {
            self.waker.wake();
        }
    }

    /// Take all items.
    pub fn take(&self) -> Vec<Item> {
        self.waker.clear();
        std::mem::take(&mut *self.items.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Events that wait, and how much of them is pictures.
#[derive(Default)]
struct Waiting {
    events: Vec<Event>,
    picture_bytes: usize,
}

impl Waiting {
    fn push(&mut self, event: Event) {
        let bytes = match &event {
            Event::Picture(_, picture) => picture.payload.len(),
            _ => 0,
        };
        let has_room = bytes == 0 || self.picture_bytes + bytes <= MAX_PICTURE_BYTES;
        if has_room && self.events.len() < MAX_EVENTS {
            self.picture_bytes += bytes;
            self.events.push(event);
        }
    }
}

/// What happened, for the engine's owner.
pub struct Outbox {
    waiting: Mutex<Waiting>,
    /// Readable while there are events.
    pub waker: Waker,
}

impl Outbox {
    /// Empty.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { waiting: Mutex::default(), waker: Waker::new()? })
    }

    /// Add events and wake.
    pub fn extend(&self, more: Vec<Event>) {
        if more.is_empty() {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        more.into_iter().for_each(|event| waiting.push(event));
        drop(waiting);
        self.waker.wake();
    }

    /// Take all events.
    pub fn take(&self) -> Vec<Event> {
        self.waker.clear();
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner)).events
    }
}

#[cfg(test)]
mod tests;
