//! Which client a packet is from, by the path it came on.

use std::collections::HashMap;

use super::Member;
use crate::outlet::Path;

/// Paths by which one client may be reached; the oldest is forgotten.
const MAX_PATHS: usize = 8;

/// The paths that connectivity checks have proved, and whose they are.
#[derive(Debug, Default)]
pub(super) struct Paths {
    owners: HashMap<Path, Member>,
    of_member: HashMap<Member, Vec<Path>>,
}

impl Paths {
    /// Whose packets come by this path.
    pub(super) fn owner(&self, path: Path) -> Option<Member> {
        self.owners.get(&path).copied()
    }

    /// A path is this client's from now on. Beyond the limit its oldest one but that `in_use` is forgotten.
    pub(super) fn note(&mut self, path: Path, member: Member, in_use: Option<Path>) {
        if self.owner(path) == Some(member) {
            return;
        }
        self.forget(path);
        self.owners.insert(path, member);
        let own = self.of_member.entry(member).or_default();
        own.push(path);
        if own.len() > MAX_PATHS
            && let Some(oldest) = own.iter().position(|known| Some(*known) != in_use)
        {
            self.owners.remove(&own.remove(oldest));
        }
    }

    /// A path is nobody's any more.
    pub(super) fn forget(&mut self, path: Path) {
        if let Some(own) = self.owners.remove(&path).and_then(|member| self.of_member.get_mut(&member)) {
            own.retain(|known| *known != path);
        }
    }

    /// A client is gone.
    pub(super) fn forget_all(&mut self, member: Member) {
        for path in self.of_member.remove(&member).unwrap_or_default() {
            self.owners.remove(&path);
        }
    }
}
