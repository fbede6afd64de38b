//! How long things took, in buckets that double: cheap to record, exact enough to see a tail.

/// Buckets: below 1 µs, then eight for each doubling up to about 16 s.
pub const BUCKETS: usize = 1 + 8 * 24;

/// Counts of durations.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: [u64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS] }
    }
}

impl Histogram {
    /// Count a duration in nanoseconds.
    pub fn record(&mut self, nanoseconds: u64) {
        if let Some(count) = self.counts.get_mut(bucket(nanoseconds)) {
            *count += 1;
        }
    }

    /// Add another one's counts.
    pub fn add(&mut self, other: &Self) {
        for (own, more) in self.counts.iter_mut().zip(other.counts) {
            *own += more;
        }
    }

    /// Upper ends of the buckets in microseconds, with their counts.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.counts.iter().enumerate().map(|(at, count)| (upper_us(at), *count))
    }
}

fn bucket(nanoseconds: u64) -> usize {
    let us = nanoseconds / 1_000;
    if us == 0 {
        return 0;
    }
    let doubling = us.ilog2() as usize;
    let within = ((nanoseconds / 125) >> doubling).saturating_sub(8) as usize;
    (1 + 8 * doubling + within.min(7)).min(BUCKETS - 1)
}

fn upper_us(bucket: usize) -> f64 {
    let Some(at) = bucket.checked_sub(1) else { return 1.0 };
    let doubling = (at / 8) as i32;
    2.0_f64.powi(doubling) * (1.0 + (at % 8 + 1) as f64 / 8.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_lies_below_the_upper_end_of_its_bucket_and_near_it() {
        for nanoseconds in [1, 999, 1_000, 1_124, 1_125, 1_999, 2_000, 33_000, 9_999_999, 5_000_000_000] {
            let upper = upper_us(bucket(nanoseconds)) * 1_000.0;
            let exact = nanoseconds as f64;
            assert!(exact < upper, "{nanoseconds} in {upper}");
            assert!(exact < 1_000.0 || upper / exact <= 1.13, "{nanoseconds} in {upper}");
        }
    }
}
