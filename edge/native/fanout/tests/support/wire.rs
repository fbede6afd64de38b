//! The outlet of all shards: keeps what is sent, in order, and can be full or break for one path.

use std::collections::{HashSet, VecDeque};

use farstage_fanout::outlet::{Outlet, Path, Taken};

/// Linux cuts a run into no more datagrams.
const MOST_SEGMENTS: usize = 64;
/// The largest run that one UDP send takes.
const MOST_RUN_BYTES: usize = 65_507;
/// UDP payload that fits any path of 1,280 bytes (IPv6).
const MOST_DATAGRAM_BYTES: usize = 1_232;

/// One call of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub path: Path,
    pub bytes: usize,
    pub segment: usize,
}

/// See the module.
#[derive(Default)]
pub struct Wire {
    /// Datagrams on their way.
    pub sent: VecDeque<(Path, Vec<u8>)>,
    /// The runs taken since they were last looked at.
    pub runs: Vec<Run>,
    /// Paths without room.
    pub full: HashSet<Path>,
    /// Paths whose runs panic.
    pub broken: HashSet<Path>,
    /// Runs that found no room.
    pub refused: usize,
    /// Runs that no socket could send.
    pub violations: Vec<Run>,
}

impl Outlet for Wire {
    fn run(&mut self, path: Path, bytes: usize, segment: usize, fill: impl FnOnce(&mut [u8])) -> Taken {
        assert!(!self.broken.contains(&path), "a test breaks this path");
        let run = Run { path, bytes, segment };
        let segments = bytes.div_ceil(segment.max(1));
        if segment == 0 || segments > MOST_SEGMENTS || bytes > MOST_RUN_BYTES || segment > MOST_DATAGRAM_BYTES {
            self.violations.push(run);
        }
        if self.full.contains(&path) {
            self.refused += 1;
            return Taken::NoRoom;
        }
        let mut buffer = vec![0xEE; bytes];
        fill(&mut buffer);
        self.runs.push(run);
        self.sent.extend(buffer.chunks(segment.max(1)).map(|datagram| (path, datagram.to_vec())));
        Taken::Yes
    }
}
