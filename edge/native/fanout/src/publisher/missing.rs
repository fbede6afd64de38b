//! Packets of one source that are missing, and when to ask for them again (RFC 4585, section 6.2.1).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Packets that are asked for again at a time; a source that lost more needs a keyframe.
const MAX_MISSING: usize = 512;
/// Packets that were overtaken on the way come within this time.
const REORDERED_WITHIN: Duration = Duration::from_millis(5);
/// How often one packet is asked for.
const MOST_TIMES: u8 = 10;
/// Between two requests for one packet, whatever the round trip.
const LEAST_WAIT: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy)]
struct Gap {
    noticed: Instant,
    asked: Option<Instant>,
    times: u8,
}

impl Gap {
    fn is_due(&self, rtt: Duration, now: Instant) -> bool {
        let (since, wait) = match self.asked {
            None => (self.noticed, REORDERED_WITHIN),
            Some(asked) => (asked, rtt.max(LEAST_WAIT)),
        };
        self.times < MOST_TIMES && now.saturating_duration_since(since) >= wait
    }
}

/// What is missing of one source, by sequence number with its rollovers.
#[derive(Debug, Default)]
pub(super) struct Missing {
    gaps: BTreeMap<u64, Gap>,
    highest: Option<u64>,
}

impl Missing {
    /// A packet arrived, for the first time or again. Returns the round trip that it tells, if it was asked for once.
    pub(super) fn arrived(&mut self, index: u64, now: Instant) -> Option<Duration> {
        if let Some(gap) = self.gaps.remove(&index) {
            let asked = gap.asked.filter(|_| gap.times == 1)?;
            return Some(now.saturating_duration_since(asked));
        }
        let highest = self.highest.replace(self.highest.map_or(index, |highest| highest.max(index)));
        let first = highest.map_or(index, |highest| highest + 1);
        if index.saturating_sub(first) > MAX_MISSING as u64 {
            self.gaps.clear();
            return None;
        }
        for missing in first..index {
            self.gaps.insert(missing, Gap { noticed: now, asked: None, times: 0 });
        }
        while self.gaps.len() > MAX_MISSING {
            self.gaps.pop_first();
        }
        None
    }

    /// The newest packet.
    pub(super) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Packets before this one are given up.
    pub(super) fn forget_before(&mut self, index: u64) {
        if self.gaps.first_key_value().is_some_and(|(oldest, _)| *oldest < index) {
            self.gaps = self.gaps.split_off(&index);
        }
    }

    /// The packets to ask for now, as many as `most`, ascending; they count as asked for.
    pub(super) fn take_due(&mut self, rtt: Duration, now: Instant, most: usize) -> Vec<u16> {
        let due = self.gaps.iter_mut().filter(|(_, gap)| gap.is_due(rtt, now)).take(most);
        due.map(|(index, gap)| {
            gap.asked = Some(now);
            gap.times += 1;
            *index as u16
        })
        .collect()
    }
}
