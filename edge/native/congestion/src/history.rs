//! What was sent, as runs of packets: one entry for all packets of a frame to this viewer.

const CAPACITY: usize = 256;

/// The most consecutive numbers that are remembered: half the number space, so that older and newer can be told
/// apart.
const MAX_SPAN: u16 = 0x7FFF;

/// Packets sent at one time.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    sent_us: u64,
    first: u16,
    packets: u16,
    bytes_each: u16,
    is_probe: bool,
}

impl Run {
    fn end(&self) -> u16 {
        self.first.wrapping_add(self.packets)
    }
}

/// A packet that was truly sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentPacket {
    /// When, in microseconds of our clock.
    pub(crate) sent_us: u64,
    /// Its size in bytes.
    pub(crate) bytes: u64,
    /// Whether it belongs to a probe.
    pub(crate) is_probe: bool,
}

/// The newest runs, oldest first, in a ring; each packet is looked up once at most.
#[derive(Clone, Debug)]
pub(crate) struct History {
    runs: Box<[Run; CAPACITY]>,
    oldest: usize,
    len: usize,
    next_unreported: u16,
}

impl History {
    /// Nothing sent yet.
    pub(crate) fn new() -> Self {
        Self { runs: Box::new([Run::default(); CAPACITY]), oldest: 0, len: 0, next_unreported: 0 }
    }

    /// Notes a run; the oldest ones make room.
    pub(crate) fn push(&mut self, first: u16, packets: u16, bytes_each: u32, sent_us: u64, is_probe: bool) {
        let kept = packets.min(MAX_SPAN);
        let first = first.wrapping_add(packets - kept);
        let bytes_each = u16::try_from(bytes_each).unwrap_or(u16::MAX);
        let run = Run { sent_us, first, packets: kept, bytes_each, is_probe };
        while self.len > 0 && (self.len == CAPACITY || self.span_up_to(run.end()) > MAX_SPAN) {
            self.drop_oldest();
        }
        if self.len == 0 {
            self.next_unreported = first;
        }
        self.runs[(self.oldest + self.len) % CAPACITY] = run;
        self.len += 1;
    }

    /// The packet with this number, if it was sent, is remembered, and neither it nor a later one has been asked
    /// for before.
    pub(crate) fn take(&mut self, sequence: u16) -> Option<SentPacket> {
        let position = self.position(sequence)?;
        if self.position(self.next_unreported).is_some_and(|next| position < next) {
            return None;
        }
        let run = self.find(position)?;
        self.next_unreported = sequence.wrapping_add(1);
        Some(SentPacket { sent_us: run.sent_us, bytes: u64::from(run.bytes_each), is_probe: run.is_probe })
    }

    /// Whether this number comes after all that were sent.
    pub(crate) fn is_beyond(&self, sequence: u16) -> bool {
        let ahead = sequence.wrapping_sub(self.end());
        self.len == 0 || ahead < MAX_SPAN
    }

    /// Whether there are packets that no feedback has told of.
    pub(crate) fn has_unreported(&self) -> bool {
        self.len > 0 && self.next_unreported != self.end()
    }

    fn run(&self, at: usize) -> &Run {
        &self.runs[(self.oldest + at) % CAPACITY]
    }

    fn end(&self) -> u16 {
        self.len.checked_sub(1).map_or(0, |last| self.run(last).end())
    }

    fn span_up_to(&self, end: u16) -> u16 {
        end.wrapping_sub(self.run(0).first)
    }

    fn drop_oldest(&mut self) {
        let end = self.run(0).end();
        let is_unreported = self.position(self.next_unreported).is_some();
        self.oldest = (self.oldest + 1) % CAPACITY;
        self.len -= 1;
        if is_unreported && self.position(self.next_unreported).is_none() {
            self.next_unreported = if self.len == 0 { end } else { self.run(0).first };
        }
    }

    /// How far a number lies behind the oldest that is remembered; `None` outside.
    fn position(&self, sequence: u16) -> Option<u16> {
        let position = sequence.wrapping_sub(self.run(0).first);
        (self.len > 0 && position <= self.span_up_to(self.end())).then_some(position)
    }

    fn find(&self, position: u16) -> Option<Run> {
        let start = self.run(0).first;
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low.midpoint(high);
            if self.run(middle).first.wrapping_sub(start) <= position {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let run = *self.run(low.checked_sub(1)?);
        let offset = position.checked_sub(run.first.wrapping_sub(start))?;
        (offset < run.packets).then_some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sent_packet_is_found_once_and_in_order() {
        let mut history = History::new();
        history.push(65_530, 10, 1_000, 7, false);
        history.push(4, 2, 500, 9, true);
        assert_eq!(history.take(65_529), None);
        let expected = SentPacket { sent_us: 7, bytes: 1_000, is_probe: false };
        assert_eq!(history.take(65_530), Some(expected));
        assert_eq!(history.take(65_530), None, "asked for before");
        assert_eq!(history.take(3).unwrap().sent_us, 7);
        assert_eq!(history.take(65_535), None, "a later one was asked for");
        assert_eq!(history.take(5).unwrap().bytes, 500);
        assert!(!history.has_unreported());
        assert_eq!(history.take(6), None, "never sent");
        assert!(history.is_beyond(6) && !history.is_beyond(5));
    }

    #[test]
    fn gaps_and_many_runs_are_bounded() {
        let mut history = History::new();
        history.push(0, 1, 100, 0, false);
        history.push(10, 1, 100, 1, false);
        assert_eq!(history.take(5), None, "in a gap");
        for run in 0..1_000_u16 {
            history.push(run.wrapping_mul(97), 97, 100, u64::from(run), false);
        }
        assert_eq!(history.len, CAPACITY);
        let last = 999_u16.wrapping_mul(97);
        assert_eq!(history.take(last).unwrap().sent_us, 999);
        assert_eq!(history.take(last.wrapping_sub(97 * 300)), None, "forgotten");
        history.push(0, u16::MAX, 100, 5_000, false);
        assert_eq!(history.take(u16::MAX - 1).unwrap().sent_us, 5_000);
    }
}
