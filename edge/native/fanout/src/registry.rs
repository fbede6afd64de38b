//! Who may connect: clients that were answered and have not come yet, and which shard each client lives on.
//!
//! The one thing shards share, and only for what is rare: the first packet of a client, and packets that reach a shard
//! other than the client's own because its network has changed. The send path never looks here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use farstage_transport::stun::IntegrityKey;

use crate::connection::ConnectionSetup;
use crate::publisher::PublisherSetup;
use crate::viewer::ViewerSetup;

/// Addresses of moved clients that are remembered; beyond, the oldest guess is as good as none and all are forgotten.
const MAX_STRAYS: usize = 65_536;

/// A client that was answered and has not come yet.
pub struct Expected {
    /// How it is known.
    pub connection: ConnectionSetup,
    /// What it comes for.
    pub purpose: Purpose,
}

/// What a client comes for.
pub enum Purpose {
    /// To watch.
    Watch(Box<ViewerSetup>),
    /// To publish.
    Publish(Box<PublisherSetup>),
}

/// What a first packet with this user name fragment finds.
pub enum Claim {
    /// The shard that asked owns the client from now on.
    Yours(Box<Expected>),
    /// Another shard owns it.
    Elsewhere(usize),
    /// Nobody was answered with this fragment, or the check was not made with its password.
    Unknown,
}

enum Entry {
    Waiting(Box<Expected>),
    Owned { shard: usize, key: Box<IntegrityKey> },
}

#[derive(Default)]
struct Tables {
    clients: HashMap<String, Entry>,
    strays: HashMap<SocketAddr, usize>,
}

/// See the module.
#[derive(Default)]
pub struct Registry {
    tables: Mutex<Tables>,
}

impl Registry {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client was answered and may connect until its deadline.
    pub fn admit(&self, expected: Box<Expected>) {
        self.tables().clients.insert(expected.connection.local_ufrag.clone(), Entry::Waiting(expected));
    }

    /// A connectivity check came from `from` to `shard`; `verify` tells whether it was made with a password.
    pub fn claim(&self, ufrag: &str, shard: usize, from: SocketAddr, verify: impl Fn(&IntegrityKey) -> bool) -> Claim {
        let mut tables = self.tables();
        match tables.clients.remove(ufrag) {
            Some(Entry::Waiting(expected)) if verify(&expected.connection.local_key) => {
                let owned = Entry::Owned { shard, key: Box::new(expected.connection.local_key.clone()) };
                tables.clients.insert(ufrag.to_owned(), owned);
                Claim::Yours(expected)
            }
            Some(Entry::Owned { shard: owner, key }) => {
                let genuine = verify(&key);
                tables.clients.insert(ufrag.to_owned(), Entry::Owned { shard: owner, key });
                if !genuine || owner == shard {
                    return Claim::Unknown;
                }
                if tables.strays.len() >= MAX_STRAYS {
                    tables.strays.clear();
                }
                tables.strays.insert(from, owner);
                Claim::Elsewhere(owner)
            }
            Some(waiting) => {
                tables.clients.insert(ufrag.to_owned(), waiting);
                Claim::Unknown
            }
            None => Claim::Unknown,
        }
    }

    /// The shard to which packets of this address go that reach another one.
    pub fn stray(&self, from: SocketAddr) -> Option<usize> {
        self.tables().strays.get(&from).copied()
    }

    /// A client has ended.
    pub fn forget(&self, ufrag: &str) {
        self.tables().clients.remove(ufrag);
    }

    /// A session is closed before its client came.
    pub fn withdraw(&self, session: u64) {
        let is_it = |entry: &Entry| matches!(entry, Entry::Waiting(expected) if expected.connection.session == session);
        self.tables().clients.retain(|_, entry| !is_it(entry));
    }

    /// Sessions whose clients did not come in time; they are forgotten.
    pub fn expired(&self, now: Instant) -> Vec<u64> {
        let mut late = Vec::new();
        self.tables().clients.retain(|_, entry| match entry {
            Entry::Waiting(expected) if expected.connection.deadline <= now => {
                late.push(expected.connection.session);
                false
            }
            _ => true,
        });
        late
    }
}
