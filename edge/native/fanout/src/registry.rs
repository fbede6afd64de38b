//! Who may connect: clients that were answered and have not come yet, and which shard each client lives on.
//!
//! The one thing shards share, and only for what is rare: the first packet of a client, and packets that reach a shard
//! other than the client's own because its network has changed. The send path never looks here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use farstage_transport::stun::IntegrityKey;

use crate::connection::ConnectionSetup;
use crate::ice::IceCredentials;
use crate::publisher::PublisherSetup;
use crate::viewer::ViewerSetup;

/// A session may restart ICE so often: a restart costs random bytes, a message to every shard and an entry here.
const RESTART_INTERVAL: Duration = Duration::from_secs(1);

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

/// A session's credentials as they were exchanged last.
struct Exchanged {
    local_ufrag: String,
    remote: (String, String),
    /// Those by which checks come still, while none has come by the newer.
    former: Option<String>,
    restarted: Option<Instant>,
}

/// What became of credentials that a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// They are new: its checks are known by the answering ones from now on.
    Begun,
    /// They are those that it had.
    Unchanged,
    /// They are new, but so were the last ones a moment ago.
    TooSoon,
    /// There is no such session.
    Unknown,
}

#[derive(Default)]
struct Tables {
    clients: HashMap<String, Entry>,
    sessions: HashMap<u64, Exchanged>,
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
        let mut tables = self.tables();
        let ice = &expected.connection.ice;
        let exchanged = Exchanged {
            local_ufrag: ice.local_ufrag.clone(),
            remote: (ice.remote_ufrag.clone(), ice.remote_password.clone()),
            former: None,
            restarted: None,
        };
        tables.sessions.insert(expected.connection.session, exchanged);
        tables.clients.insert(expected.connection.ice.local_ufrag.clone(), Entry::Waiting(expected));
    }

    /// A session's client names its credentials; ours in `ice` answer them if they ask for a restart. One that has come
    /// is known by the former ones too until [`Self::retire`].
    pub fn restart(&self, session: u64, ice: &IceCredentials, now: Instant) -> Restart {
        let mut tables = self.tables();
        let Tables { clients, sessions, .. } = &mut *tables;
        let Some(exchanged) = sessions.get_mut(&session) else { return Restart::Unknown };
        let remote = (ice.remote_ufrag.clone(), ice.remote_password.clone());
        if exchanged.remote == remote {
            return Restart::Unchanged;
        }
        if exchanged.restarted.is_some_and(|at| now.saturating_duration_since(at) < RESTART_INTERVAL) {
            return Restart::TooSoon;
        }
        let replaced = std::mem::replace(&mut exchanged.local_ufrag, ice.local_ufrag.clone());
        let entry = match clients.remove(&replaced) {
            Some(Entry::Waiting(mut expected)) => {
                expected.connection.ice = ice.clone();
                Entry::Waiting(expected)
            }
            Some(Entry::Owned { shard, key }) => {
                if exchanged.former.is_none() {
                    clients.insert(replaced.clone(), Entry::Owned { shard, key });
                    exchanged.former = Some(replaced);
                }
                Entry::Owned { shard, key: Box::new(ice.local_key.clone()) }
            }
            None => return Restart::Unknown,
        };
        clients.insert(ice.local_ufrag.clone(), entry);
        exchanged.remote = remote;
        exchanged.restarted = Some(now);
        Restart::Begun
    }

    /// A check has come by a session's new fragment: it is not known by this former one any more.
    pub fn retire(&self, session: u64, former: &str) {
        let mut tables = self.tables();
        let Tables { clients, sessions, .. } = &mut *tables;
        if let Some(exchanged) = sessions.get_mut(&session)
            && let Some(former) = exchanged.former.take_if(|known| known == former)
        {
            clients.remove(&former);
        }
    }

    /// A connectivity check came from `from` to `shard`; `verify` tells whether it was made with a password.
    pub fn claim(&self, ufrag: &str, shard: usize, from: SocketAddr, verify: impl Fn(&IntegrityKey) -> bool) -> Claim {
        let mut tables = self.tables();
        match tables.clients.remove(ufrag) {
            Some(Entry::Waiting(expected)) if verify(&expected.connection.ice.local_key) => {
                let owned = Entry::Owned { shard, key: Box::new(expected.connection.ice.local_key.clone()) };
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
    pub fn forget(&self, session: u64) {
        let mut tables = self.tables();
        if let Some(exchanged) = tables.sessions.remove(&session) {
            tables.clients.remove(&exchanged.local_ufrag);
            exchanged.former.and_then(|former| tables.clients.remove(&former));
        }
    }

    /// A session is closed before its client came.
    pub fn withdraw(&self, session: u64) {
        let mut tables = self.tables();
        let ufrag = tables.sessions.get(&session).map(|exchanged| exchanged.local_ufrag.clone());
        let Some(ufrag) = ufrag else { return };
        if matches!(tables.clients.get(&ufrag), Some(Entry::Waiting(_))) {
            tables.clients.remove(&ufrag);
            tables.sessions.remove(&session);
        }
    }

    /// Sessions whose clients did not come in time; they are forgotten.
    pub fn expired(&self, now: Instant) -> Vec<u64> {
        let mut late = Vec::new();
        let mut tables = self.tables();
        tables.clients.retain(|_, entry| match entry {
            Entry::Waiting(expected) if expected.connection.deadline <= now => {
                late.push(expected.connection.session);
                false
            }
            _ => true,
        });
        late.iter().for_each(|session| drop(tables.sessions.remove(session)));
        late
    }
}
