//! Continuity of one RTP stream by its sequence numbers, which SRTP leaves in clear (RFC 3550 appendix A).

/// Most numbers one gap may miss and still be waited for; a wider one counts as lost at once.
const MAX_GAP: u64 = 512;
/// Most numbers waited for at a time.
const MAX_HOLES: usize = 2048;
/// How late a packet may overtake others before it is asked for again.
const REORDER_US: u64 = 10_000;
/// A number is given up after this time.
const GIVE_UP_US: u64 = 1_500_000;
/// Least time between two requests of a number, whatever the round trip.
const MIN_REPEAT_US: u64 = 20_000;
const MAX_TRIES: u8 = 10;
/// Most numbers in one NACK.
pub const MAX_ASKED: usize = 256;

/// The number with rollovers that is nearest to the highest one so far.
pub fn unwrap(highest: Option<u64>, number: u16) -> u64 {
    let Some(highest) = highest else {
        // One rollover ahead, so that what overtook the first packet has a number too.
        return 0x1_0000 + u64::from(number);
    };
    let step = number.wrapping_sub(highest as u16) as i16;
    highest.saturating_add_signed(i64::from(step))
}

/// What a packet's number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// The next one.
    Next,
    /// Ahead of its turn: holes were opened.
    Ahead,
    /// One that was waited for; true if it had been asked for.
    Filled(bool),
    /// Seen before, or given up.
    Old,
}

/// A number that is waited for.
#[derive(Clone, Copy, Debug)]
struct Hole {
    number: u64,
    opened_us: u64,
    ask_at_us: u64,
    tries: u8,
}

/// The numbers of one stream.
#[derive(Debug)]
pub struct Sequence {
    first: u64,
    highest: u64,
    received: u64,
    jumped: u64,
    holes: Vec<Hole>,
    reported: (u64, u64),
}

impl Sequence {
    /// A stream that begins with this number.
    pub fn starting_at(number: u16) -> Self {
        let first = unwrap(None, number);
        Self { first, highest: first - 1, received: 0, jumped: 0, holes: Vec::new(), reported: (0, 0) }
    }

    /// The number with its rollovers.
    pub fn extend(&self, number: u16) -> u64 {
        unwrap(Some(self.highest), number)
    }

    /// Takes a packet's extended number.
    pub fn take(&mut self, number: u64, now_us: u64) -> Continuity {
        let continuity = self.classify(number, now_us);
        if continuity != Continuity::Old {
            self.received += 1;
        }
        continuity
    }

    fn classify(&mut self, number: u64, now_us: u64) -> Continuity {
        if number == self.highest + 1 {
            self.highest = number;
            return Continuity::Next;
        }
        if number > self.highest {
            self.open_holes(number, now_us);
            self.highest = number;
            return Continuity::Ahead;
        }
        match self.holes.binary_search_by_key(&number, |hole| hole.number) {
            Ok(index) => Continuity::Filled(self.holes.remove(index).tries > 0),
            Err(_) => Continuity::Old,
        }
    }

    fn open_holes(&mut self, next: u64, now_us: u64) {
        let missing = next - self.highest - 1;
        if missing > MAX_GAP || self.holes.len() + missing as usize > MAX_HOLES {
            self.jumped += missing;
            return;
        }
        let ask_at_us = now_us + REORDER_US;
        self.holes.extend((self.highest + 1..next).map(|number| Hole {
            number,
            opened_us: now_us,
            ask_at_us,
            tries: 0,
        }));
    }

    /// Whether any number is waited for.
    pub fn has_holes(&self) -> bool {
        !self.holes.is_empty()
    }

    /// When [`Sequence::ask`] has something to do next.
    pub fn due_us(&self) -> Option<u64> {
        self.holes.iter().map(|hole| hole.ask_at_us.min(hole.opened_us + GIVE_UP_US)).min()
    }

    /// Collects the numbers to ask for now into `asked`; returns how many. One is asked for again after a round trip,
    /// with growing patience.
    pub fn ask(&mut self, now_us: u64, rtt_us: u64, asked: &mut [u16; MAX_ASKED]) -> usize {
        let mut count = 0;
        for hole in self.holes.iter_mut().filter(|hole| hole.ask_at_us <= now_us) {
            let (Some(slot), true) = (asked.get_mut(count), hole.tries < MAX_TRIES) else {
                hole.ask_at_us = hole.opened_us + GIVE_UP_US;
                continue;
            };
            *slot = hole.number as u16;
            count += 1;
            hole.tries += 1;
            let patience = rtt_us.max(MIN_REPEAT_US);
            hole.ask_at_us = now_us + patience + patience * u64::from(hole.tries - 1) / 2;
        }
        count
    }

    /// Gives up what was waited for too long; each is counted as lost and handed to `lost`, in rising order.
    pub fn give_up(&mut self, now_us: u64, mut lost: impl FnMut(u64)) {
        self.holes.retain(|hole| {
            let keep = hole.opened_us + GIVE_UP_US > now_us;
            if !keep {
                lost(hole.number);
            }
            keep
        });
    }

    /// Packets lost by gaps too wide to wait for.
    pub fn jumped(&self) -> u64 {
        self.jumped
    }

    /// Highest number with its rollovers, as a receiver report wants it.
    pub fn highest(&self) -> u32 {
        (self.highest - 0x1_0000) as u32
    }

    /// Packets missing since the start and, in 256ths, since the last call (RFC 3550 appendix A.3).
    pub fn report(&mut self) -> (u32, u8) {
        let expected = self.highest + 1 - self.first;
        let (expected_before, received_before) = self.reported;
        let (span, arrived) = (expected - expected_before, self.received.saturating_sub(received_before));
        self.reported = (expected, self.received);
        let fraction = if span > arrived { ((span - arrived) * 256 / span).min(255) as u8 } else { 0 };
        (expected.saturating_sub(self.received) as u32, fraction)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed(sequence: &mut Sequence, number: u16, now_us: u64) -> Continuity {
        let extended = sequence.extend(number);
        sequence.take(extended, now_us)
    }

    #[test]
    fn gaps_are_asked_for_filled_or_given_up() {
        let mut sequence = Sequence::starting_at(65_534);
        assert_eq!(feed(&mut sequence, 65_534, 0), Continuity::Next);
        assert_eq!(feed(&mut sequence, 65_535, 0), Continuity::Next);
        assert_eq!(feed(&mut sequence, 3, 0), Continuity::Ahead);
        assert_eq!(feed(&mut sequence, 1, 1_000), Continuity::Filled(false));
        let mut asked = [0; MAX_ASKED];
        assert_eq!(sequence.ask(5_000, 30_000, &mut asked), 0);
        assert_eq!(sequence.ask(10_000, 30_000, &mut asked), 2);
        assert_eq!(asked[..2], [0, 2]);
        assert_eq!(feed(&mut sequence, 2, 11_000), Continuity::Filled(true));
        assert_eq!(feed(&mut sequence, 2, 11_000), Continuity::Old);
        assert_eq!(sequence.ask(39_999, 30_000, &mut asked), 0);
        assert_eq!(sequence.ask(40_000, 30_000, &mut asked), 1);
        let mut lost = Vec::new();
        sequence.give_up(GIVE_UP_US, |number| lost.push(number as u16));
        assert_eq!((lost, sequence.has_holes()), (vec![0], false));
        assert_eq!(sequence.report(), (1, 42));
        assert_eq!(sequence.report(), (1, 0));
        assert_eq!(sequence.highest(), 0x1_0003);
    }

    #[test]
    fn a_jump_counts_as_lost_at_once() {
        let mut sequence = Sequence::starting_at(0);
        feed(&mut sequence, 0, 0);
        assert_eq!(feed(&mut sequence, 1001, 0), Continuity::Ahead);
        assert_eq!((sequence.jumped(), sequence.has_holes()), (1000, false));
    }

    proptest! {
        #[test]
        fn every_number_is_received_waited_for_or_lost(numbers in proptest::collection::vec(0u16..3000, 1..200)) {
            let mut sequence = Sequence::starting_at(numbers[0]);
            let mut lost = 0;
            for (index, number) in numbers.iter().enumerate() {
                let now_us = index as u64 * 100_000;
                feed(&mut sequence, *number, now_us);
                sequence.give_up(now_us, |_| lost += 1);
                let expected = sequence.highest + 1 - sequence.first;
                let known = sequence.received + sequence.jumped + lost + sequence.holes.len() as u64;
                prop_assert_eq!(expected, known);
            }
        }
    }
}
