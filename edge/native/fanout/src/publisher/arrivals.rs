//! When each packet arrived, as the publisher's congestion control wants to know it
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::collections::VecDeque;

use farstage_rtp::rtcp::write_transport_feedback;

/// Packets that are remembered: a second of 10 Mbit/s and more.
const REMEMBERED: usize = 2_048;

/// Arrivals by transport-wide number, those not reported yet and some before.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    times_us: VecDeque<Option<i64>>,
    /// Number of the first of them, with its rollovers.
    first: u64,
    /// The first that is not reported.
    next: u64,
    feedback_count: u8,
}

impl Arrivals {
    /// A packet arrived, `at_us` by a clock that does not run backwards. One that was reported missing is reported again.
    pub(super) fn note(&mut self, number: u16, at_us: i64) {
        let index = self.extend(number);
        if self.times_us.is_empty() || index >= self.first + 2 * REMEMBERED as u64 {
            *self = Self { first: index, next: index, feedback_count: self.feedback_count, ..Self::default() };
        }
        let Some(offset) = index.checked_sub(self.first).and_then(|offset| usize::try_from(offset).ok()) else {
            return;
        };
        if self.times_us.len() <= offset {
            self.times_us.resize(offset + 1, None);
        }
        if let Some(time @ None) = self.times_us.get_mut(offset) {
            *time = Some(at_us);
            self.next = self.next.min(index);
        }
        while self.times_us.len() > REMEMBERED {
            self.times_us.pop_front();
            self.first += 1;
        }
        self.next = self.next.max(self.first);
    }

    /// The number with its rollovers that is nearest to the newest.
    fn extend(&self, number: u16) -> u64 {
        let Some(newest) =
            (self.first + self.times_us.len() as u64).checked_sub(1).filter(|_| !self.times_us.is_empty())
        else {
            return 1 << 16 | u64::from(number);
        };
        newest.saturating_add_signed(i64::from(number.wrapping_sub(newest as u16) as i16))
    }

    /// Append one report of what is not reported yet; returns whether there was any.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32) -> bool {
        let offset = (self.next - self.first) as usize;
        let times = self.times_us.make_contiguous().get(offset..).unwrap_or_default();
        let (base, count) = (self.next as u16, self.feedback_count);
        let covered = write_transport_feedback(out, sender_ssrc, media_ssrc, base, count, times);
        if covered == 0 {
            self.next = self.first + self.times_us.len() as u64;
            return false;
        }
        self.next += covered as u64;
        self.feedback_count = count.wrapping_add(1);
        true
    }
}
