//! Distributions of durations at a fixed size: one count for each of 32 steps between two powers of two.

use serde::Serialize;

const LINEAR: u64 = 64;
const STEPS: u64 = 32;
const BUCKETS: usize = (LINEAR + 31 * STEPS) as usize;

/// Counts of values in microseconds (or any unit); a percentile is at most 3 % off.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    largest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, largest: 0 }
    }
}

/// A distribution in short, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Summary {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest value.
    pub max: f64,
    /// Number of values.
    pub count: u64,
}

impl Histogram {
    /// Counts a value in microseconds.
    pub fn record(&mut self, value: u64) {
        if let Some(count) = self.counts.get_mut(bucket(value)) {
            *count += 1;
        }
        self.total += 1;
        self.largest = self.largest.max(value);
    }

    /// Adds the counts of another one.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.total += other.total;
        self.largest = self.largest.max(other.largest);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        (self.total, self.largest) = (0, 0);
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The value below which `share` of the values lie; 0 without any.
    pub fn percentile(&self, share: f64) -> u64 {
        let rank = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(index as u64).min(self.largest);
            }
        }
        self.largest
    }

    /// Percentiles of values in microseconds, as milliseconds; `None` without any.
    pub fn summary(&self) -> Option<Summary> {
        let at = |share| milliseconds(self.percentile(share));
        (self.total > 0).then(|| Summary {
            p50: at(0.50),
            p95: at(0.95),
            p99: at(0.99),
            max: milliseconds(self.largest),
            count: self.total,
        })
    }

    /// The occupied buckets as (upper end in milliseconds, count), for plots.
    pub fn points(&self) -> Vec<(f64, u64)> {
        let occupied = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        occupied.map(|(index, count)| (milliseconds(upper(index as u64)), *count)).collect()
    }
}

fn milliseconds(microseconds: u64) -> f64 {
    (microseconds as f64).round() / 1000.0
}

fn bucket(value: u64) -> usize {
    if value < LINEAR {
        return value as usize;
    }
    let exponent = u64::from(63 - value.leading_zeros());
    let step = (value >> (exponent - 5)) & (STEPS - 1);
    (LINEAR + (exponent - 6) * STEPS + step).min(BUCKETS as u64 - 1) as usize
}

/// The largest value of a bucket.
fn upper(index: u64) -> u64 {
    if index < LINEAR {
        return index;
    }
    let (exponent, step) = ((index - LINEAR) / STEPS + 6, (index - LINEAR) % STEPS);
    ((STEPS + step + 1) << (exponent - 5)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_close() {
        let mut histogram = Histogram::default();
        (1..=10_000).for_each(|value| histogram.record(value));
        for (share, exact) in [(0.5, 5_000.0), (0.95, 9_500.0), (0.99, 9_900.0)] {
            assert!((histogram.percentile(share) as f64 / exact - 1.0).abs() < 0.035);
        }
        assert_eq!(histogram.summary().unwrap().max, 10.0);
        assert_eq!(histogram.points().iter().map(|point| point.1).sum::<u64>(), 10_000);
    }

    #[test]
    fn every_value_has_a_bucket_that_holds_it() {
        let mut histogram = Histogram::default();
        for shift in 0..64 {
            let value = 1u64 << shift;
            histogram.record(value);
            assert!(
                shift > 35
                    || (upper(bucket(value) as u64) >= value && bucket(upper(bucket(value) as u64)) == bucket(value))
            );
        }
        assert_eq!(histogram.percentile(1.0), upper(BUCKETS as u64 - 1).min(1 << 63));
    }
}
