//! Who may connect: viewers that were answered and have not come yet, and which shard each viewer lives on.
//!
//! The one thing shards share, and only for what is rare: the first packet of a viewer, and packets that reach a shard
//! other than the viewer's own because its network has changed. The send path never looks here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use farstage_transport::stun::IntegrityKey;

use crate::viewer::ViewerSetup;

/// Addresses of moved viewers that are remembered; beyond, the oldest guess is as good as none and all are forgotten.
const MAX_STRAYS: usize = 65_536;

/// What a first packet with this user name fragment finds.
pub enum Claim {
    /// The shard that asked owns the viewer from now on.
    Yours(Box<ViewerSetup>),
    /// Another shard owns it.
    Elsewhere(usize),
    /// Nobody was answered with this fragment, or the check was not made with its password.
    Unknown,
}

enum Entry {
    Waiting(Box<ViewerSetup>),
    Owned { shard: usize, key: Box<IntegrityKey> },
}

#[derive(Default)]
struct Tables {
    viewers: HashMap<String, Entry>,
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

    /// A viewer was answered and may connect until its deadline.
    pub fn admit(&self, setup: Box<ViewerSetup>) {
        self.tables().viewers.insert(setup.local_ufrag.clone(), Entry::Waiting(setup));
    }

    /// A connectivity check came from `from` to `shard`; `verify` tells whether it was made with a password.
    pub fn claim(&self, ufrag: &str, shard: usize, from: SocketAddr, verify: impl Fn(&IntegrityKey) -> bool) -> Claim {
        let mut tables = self.tables();
        match tables.viewers.remove(ufrag) {
            Some(Entry::Waiting(setup)) if verify(&setup.local_key) => {
                let owned = Entry::Owned { shard, key: Box::new(setup.local_key.clone()) };
                tables.viewers.insert(ufrag.to_owned(), owned);
                Claim::Yours(setup)
            }
            Some(Entry::Owned { shard: owner, key }) => {
                let genuine = verify(&key);
                tables.viewers.insert(ufrag.to_owned(), Entry::Owned { shard: owner, key });
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
                tables.viewers.insert(ufrag.to_owned(), waiting);
                Claim::Unknown
            }
            None => Claim::Unknown,
        }
    }

    /// The shard to which packets of this address go that reach another one.
    pub fn stray(&self, from: SocketAddr) -> Option<usize> {
        self.tables().strays.get(&from).copied()
    }

    /// A viewer has ended.
    pub fn forget(&self, ufrag: &str) {
        self.tables().viewers.remove(ufrag);
    }

    /// A session is closed before its viewer came.
    pub fn withdraw(&self, session: u64) {
        self.tables().viewers.retain(|_, entry| !matches!(entry, Entry::Waiting(setup) if setup.session == session));
    }

    /// Sessions whose viewers did not come in time; they are forgotten.
    pub fn expired(&self, now: Instant) -> Vec<u64> {
        let mut late = Vec::new();
        self.tables().viewers.retain(|_, entry| match entry {
            Entry::Waiting(setup) if setup.deadline <= now => {
                late.push(setup.session);
                false
            }
            _ => true,
        });
        late
    }
}
