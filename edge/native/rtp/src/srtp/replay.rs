//! Which packets of a stream have been seen, and which rollover a sequence number belongs to (RFC 3711 3.3).

/// Number of packets behind the newest that are still taken.
const WINDOW_LEN: u64 = 128;

/// The first index that 48 bits do not hold.
const INDEX_END: u64 = 1 << 48;

/// The newest index of a stream and a bit for each of the indices before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplayWindow {
    newest: u64,
    seen: u128,
}

impl ReplayWindow {
    /// A window after its first packet.
    pub(super) fn starting_at(index: u64) -> Self {
        Self { newest: index, seen: 1 }
    }

    /// Whether `index` is neither seen nor too old (RFC 3711 section 3.3.2).
    pub(super) fn is_fresh(&self, index: u64) -> bool {
        match self.newest.checked_sub(index) {
            None => true,
            Some(age) => age < WINDOW_LEN && self.seen >> age & 1 == 0,
        }
    }

    /// Notes an authenticated index.
    pub(super) fn mark(&mut self, index: u64) {
        match index.checked_sub(self.newest) {
            Some(advance) => {
                let shifted = if advance < WINDOW_LEN { self.seen << advance } else { 0 };
                self.seen = shifted | 1;
                self.newest = index;
            }
            None if self.newest - index < WINDOW_LEN => self.seen |= 1 << (self.newest - index),
            None => {}
        }
    }

    /// The extended index that a 16-bit sequence number most likely stands for (RFC 3711 section 3.3.1): the one
    /// nearest to the newest. `None` where that lies before the first rollover began or after the last one.
    pub(super) fn extend(&self, sequence: u16) -> Option<u64> {
        let newest_sequence = self.newest as u16;
        let distance = i64::from(sequence.wrapping_sub(newest_sequence) as i16);
        self.newest.checked_add_signed(distance).filter(|&index| index < INDEX_END)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_takes_each_index_once() {
        let mut window = ReplayWindow::starting_at(1000);
        assert!(!window.is_fresh(1000));
        for index in [1001, 999, 1128, 1002] {
            assert!(window.is_fresh(index));
            window.mark(index);
            assert!(!window.is_fresh(index));
        }
        assert!(!window.is_fresh(1000), "an index just outside the window is refused");
        assert!(!window.is_fresh(1001), "the oldest index in the window is remembered");
        assert!(window.is_fresh(1003));
        window.mark(5000);
        assert!(!window.is_fresh(1003));
        assert!(window.is_fresh(4999));
    }

    #[test]
    fn sequence_numbers_extend_over_the_rollover() {
        let window = ReplayWindow::starting_at(65_530);
        assert_eq!(window.extend(65_531), Some(65_531));
        assert_eq!(window.extend(3), Some(65_539));
        assert_eq!(ReplayWindow::starting_at(65_539).extend(65_530), Some(65_530));
        assert_eq!(ReplayWindow::starting_at(3).extend(65_530), None);
        assert_eq!(ReplayWindow::starting_at(INDEX_END - 1).extend(0), None);
    }
}
