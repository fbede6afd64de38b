//! Round-trip times, and how much of them is queueing.

const START_US: u64 = 100_000;
const MAX_US: u64 = 5_000_000;

/// The shortest round trip is that of the last one to two of these, so that a changed path is learned.
const EPOCH_US: u64 = 20_000_000;

/// The round trips of one viewer.
#[derive(Clone, Debug)]
pub(crate) struct RoundTrips {
    smoothed_us: u64,
    latest_us: u64,
    shortest_us: u64,
    shortest_before_us: u64,
    epoch_start_us: u64,
}

impl RoundTrips {
    /// None measured yet.
    pub(crate) fn new(now_us: u64) -> Self {
        Self {
            smoothed_us: START_US,
            latest_us: START_US,
            shortest_us: MAX_US,
            shortest_before_us: MAX_US,
            epoch_start_us: now_us,
        }
    }

    /// Takes a measured time.
    pub(crate) fn observe(&mut self, rtt_us: u64, now_us: u64) {
        let rtt_us = rtt_us.min(MAX_US);
        self.smoothed_us = (7 * self.smoothed_us + rtt_us) / 8;
        self.latest_us = rtt_us;
        if now_us.saturating_sub(self.epoch_start_us) > EPOCH_US {
            self.epoch_start_us = now_us;
            self.shortest_before_us = std::mem::replace(&mut self.shortest_us, MAX_US);
        }
        self.shortest_us = self.shortest_us.min(rtt_us);
    }

    /// Smoothed, in microseconds.
    pub(crate) fn smoothed_us(&self) -> u64 {
        self.smoothed_us
    }

    /// The shortest lately, in microseconds.
    pub(crate) fn shortest_us(&self) -> u64 {
        self.shortest_us.min(self.shortest_before_us).min(self.latest_us)
    }

    /// How much longer than that the latest was, in microseconds.
    pub(crate) fn queue_us(&self) -> u64 {
        self.latest_us - self.shortest_us()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queueing_is_what_exceeds_the_shortest_and_a_longer_path_is_learned() {
        let mut round_trips = RoundTrips::new(0);
        assert_eq!(round_trips.queue_us(), 0);
        round_trips.observe(40_000, 0);
        round_trips.observe(240_000, 1_000_000);
        assert_eq!((round_trips.shortest_us(), round_trips.queue_us()), (40_000, 200_000));
        for second in 2..60 {
            round_trips.observe(240_000, second * 1_000_000);
        }
        assert_eq!((round_trips.shortest_us(), round_trips.queue_us()), (240_000, 0));
        round_trips.observe(u64::MAX, u64::MAX);
        assert_eq!(round_trips.latest_us, MAX_US);
    }
}
