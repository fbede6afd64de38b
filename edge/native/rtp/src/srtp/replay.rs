//! Which packets of a stream have been seen, and which rollover a sequence number belongs to (RFC 3711 3.3).

/// Number of packets behind the newest that are still taken: a keyframe's packets may be asked for again and come as they
/// were a round trip later.
const WINDOW_LEN: u64 = 1_024;

/// The first index that 48 bits do not hold.
const INDEX_END: u64 = 1 << 48;

const WORDS: usize = WINDOW_LEN as usize / 64;

/// The newest index of a stream, and a bit for each index of the window at its place modulo the window's length.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplayWindow {
    newest: u64,
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// A window after its first packet.
    pub(super) fn starting_at(index: u64) -> Self {
        let mut window = Self { newest: index, seen: [0; WORDS] };
        window.set(index, true);
        window
    }

    /// Whether `index` is neither seen nor too old (RFC 3711 section 3.3.2).
    pub(super) fn is_fresh(&self, index: u64) -> bool {
        match self.newest.checked_sub(index) {
            None => true,
            Some(age) => age < WINDOW_LEN && self.seen[word(index)] & bit(index) == 0,
        }
    }

    /// Notes an authenticated index.
    pub(super) fn mark(&mut self, index: u64) {
        if index > self.newest {
            let entered = self.newest + 1..=index;
            entered.take(WINDOW_LEN as usize).for_each(|index| self.set(index, false));
            self.newest = index;
        }
        if self.newest - index < WINDOW_LEN {
            self.set(index, true);
        }
    }

    fn set(&mut self, index: u64, seen: bool) {
        let word = &mut self.seen[word(index)];
        *word = if seen { *word | bit(index) } else { *word & !bit(index) };
    }

    /// The extended index that a 16-bit sequence number most likely stands for (RFC 3711 section 3.3.1): the one
    /// nearest to the newest. `None` where that lies before the first rollover began or after the last one.
    pub(super) fn extend(&self, sequence: u16) -> Option<u64> {
        let newest_sequence = self.newest as u16;
        let distance = i64::from(sequence.wrapping_sub(newest_sequence) as i16);
        self.newest.checked_add_signed(distance).filter(|&index| index < INDEX_END)
    }
}

fn word(index: u64) -> usize {
    (index / 64) as usize % WORDS
}

fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_takes_each_index_once() {
        let mut window = ReplayWindow::starting_at(1000);
        assert!(!window.is_fresh(1000));
        for index in [1001, 999, 2024, 1002] {
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
