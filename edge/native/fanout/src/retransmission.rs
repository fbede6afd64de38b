//! How much may be sent again: a budget per viewer, the rules of `edge/retransmission.py`.
//!
//! A receiver names all it misses whenever it misses one more packet (RFC 4585, section 6.2.1): a line too narrow asks
//! for the same packets again and again, and a hostile one would have a few bytes answered with thousands. So only a
//! share of what a viewer is sent is repeats, and none before the last repeat of the packet could have arrived.

use std::time::{Duration, Instant};

/// Repeats for each packet sent for the first time, in thousandths.
const SHARE: u32 = 300;
/// Repeats that can be saved up, in thousandths: a keyframe's packets.
const BURST: u32 = 64_000;
const LEAST_WAIT: Duration = Duration::from_millis(20);
const MOST_REPEATS: u8 = 4;
const REMEMBERED: usize = 128;
/// After this long a sequence number stands for another packet.
const FORGET: Duration = Duration::from_secs(5);

/// What becomes of a packet that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent again.
    Now,
    /// Its last repeat may still be on its way.
    TooSoon,
    /// It has been repeated often enough, or nothing is left to repeat with.
    Never,
}

#[derive(Debug, Clone, Copy)]
struct Repeat {
    sequence: u16,
    times: u8,
    last: Instant,
}

/// One viewer's budget.
#[derive(Debug)]
pub struct RetransmissionBudget {
    credit: u32,
    repeated: Vec<Repeat>,
    oldest: usize,
    /// Packets asked for and not repeated.
    pub refused: u64,
}

impl Default for RetransmissionBudget {
    fn default() -> Self {
        Self { credit: BURST, repeated: Vec::new(), oldest: 0, refused: 0 }
    }
}

impl RetransmissionBudget {
    /// Packets were sent for the first time.
    pub fn earn(&mut self, packets: u32) {
        self.credit = BURST.min(self.credit.saturating_add(packets.saturating_mul(SHARE)));
    }

    /// Whether to send the packet of this number again; [`Verdict::Now`] spends.
    pub fn judge(&mut self, sequence: u16, rtt: Duration, now: Instant) -> Verdict {
        let wait = LEAST_WAIT.max(rtt);
        let known = self.repeated.iter().position(|repeat| repeat.sequence == sequence);
        let before = known.and_then(|at| self.repeated.get(at).copied());
        let age = before.map(|repeat| now.saturating_duration_since(repeat.last));
        let times = before.filter(|_| age.is_some_and(|age| age <= FORGET)).map_or(0, |repeat| repeat.times);
        if age.is_some_and(|age| age < wait) {
            self.refused += 1;
            return Verdict::TooSoon;
        }
        if self.credit < 1_000 || times >= MOST_REPEATS {
            self.refused += 1;
            return Verdict::Never;
        }
        self.credit -= 1_000;
        self.remember(known, Repeat { sequence, times: times + 1, last: now });
        Verdict::Now
    }

    fn remember(&mut self, known: Option<usize>, repeat: Repeat) {
        if let Some(slot) = known.and_then(|at| self.repeated.get_mut(at)) {
            *slot = repeat;
        } else if self.repeated.len() < REMEMBERED {
            self.repeated.push(repeat);
        } else {
            self.repeated[self.oldest] = repeat;
            self.oldest = (self.oldest + 1) % REMEMBERED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_wait_for_the_last_one_to_arrive_and_end_after_four() {
        let mut budget = RetransmissionBudget::default();
        let start = Instant::now();
        let rtt = Duration::from_millis(50);
        assert_eq!(budget.judge(7, rtt, start), Verdict::Now);
        assert_eq!(budget.judge(7, rtt, start + Duration::from_millis(49)), Verdict::TooSoon);
        for round in 1..4 {
            assert_eq!(budget.judge(7, rtt, start + rtt * round), Verdict::Now);
        }
        assert_eq!(budget.judge(7, rtt, start + rtt * 10), Verdict::Never);
        let later = start + Duration::from_secs(10);
        assert_eq!(budget.judge(7, rtt, later), Verdict::Now, "the number stands for another packet");
        assert_eq!(budget.refused, 2);
    }

    #[test]
    fn a_storm_spends_what_was_saved_and_then_a_share_of_what_is_sent() {
        let mut budget = RetransmissionBudget::default();
        let now = Instant::now();
        let allowed = (0..1_000).filter(|n| budget.judge(*n, Duration::ZERO, now) == Verdict::Now).count();
        assert_eq!(allowed, 64);
        budget.earn(100);
        let allowed = (2_000..3_000).filter(|n| budget.judge(*n, Duration::ZERO, now) == Verdict::Now).count();
        assert_eq!(allowed, 30);
    }
}
