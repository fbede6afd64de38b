//! Bitrate over a sliding window of time.

const BUCKETS: usize = 16;

/// Bytes counted in the buckets of a window that slides over any clock which does not run backwards.
#[derive(Clone, Debug)]
pub(crate) struct RateWindow {
    bucket_us: u64,
    bytes: [u32; BUCKETS],
    newest_bucket: u64,
    first_us: Option<u64>,
}

impl RateWindow {
    /// An empty window of this length.
    pub(crate) fn new(window_us: u64) -> Self {
        let bucket_us = (window_us / BUCKETS as u64).max(1);
        Self { bucket_us, bytes: [0; BUCKETS], newest_bucket: 0, first_us: None }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.bucket_us * BUCKETS as u64);
    }

    /// Counts bytes at a time; earlier times count as the latest one.
    pub(crate) fn add(&mut self, time_us: u64, bytes: u64) {
        self.advance(time_us);
        self.first_us.get_or_insert(time_us);
        let slot = &mut self.bytes[(self.newest_bucket % BUCKETS as u64) as usize];
        *slot = slot.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Bits a second over the window that ends at `now_us`; `None` before half a window has been seen.
    pub(crate) fn rate_bps(&mut self, now_us: u64) -> Option<f64> {
        self.advance(now_us);
        let window_start = (self.newest_bucket + 1).saturating_sub(BUCKETS as u64) * self.bucket_us;
        let covered_us = now_us.saturating_sub(window_start.max(self.first_us?));
        if covered_us < self.bucket_us * BUCKETS as u64 / 2 {
            return None;
        }
        let bytes: u64 = self.bytes.iter().map(|&bytes| u64::from(bytes)).sum();
        Some(bytes as f64 * 8e6 / covered_us as f64)
    }

    fn advance(&mut self, time_us: u64) {
        let bucket = time_us / self.bucket_us;
        let steps = bucket.saturating_sub(self.newest_bucket);
        for step in 1..=steps.min(BUCKETS as u64) {
            self.bytes[((self.newest_bucket + step) % BUCKETS as u64) as usize] = 0;
        }
        if steps > BUCKETS as u64 {
            self.bytes = [0; BUCKETS];
        }
        self.newest_bucket += steps;
    }
}

/// The highest rate lately, which is forgotten step by step.
#[derive(Clone, Debug)]
pub(crate) struct PeakRate {
    bps: f64,
    at_us: u64,
    lifetime_us: f64,
}

impl PeakRate {
    /// None yet; a peak falls to a third in this time.
    pub(crate) fn new(lifetime_us: f64) -> Self {
        Self { bps: 0.0, at_us: 0, lifetime_us }
    }

    /// Takes a rate; returns the peak in bits a second.
    pub(crate) fn observe(&mut self, rate_bps: f64, now_us: u64) -> f64 {
        let age_us = now_us.saturating_sub(self.at_us) as f64;
        self.at_us = now_us;
        self.bps = rate_bps.max(self.bps * (-age_us / self.lifetime_us).exp());
        self.bps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_follows_what_is_added_and_forgets_it() {
        let mut window = RateWindow::new(1_600_000);
        assert_eq!(window.rate_bps(0), None);
        for packet in 0..400 {
            window.add(packet * 10_000, 1_250);
        }
        let rate = window.rate_bps(3_999_000).unwrap();
        assert!((0.98e6..1.02e6).contains(&rate), "{rate}");
        assert_eq!(window.rate_bps(60_000_000), Some(0.0));
    }

    #[test]
    fn times_that_run_backwards_or_far_ahead_do_no_harm() {
        let mut window = RateWindow::new(1_600_000);
        window.add(u64::MAX, u64::MAX);
        window.add(0, 1);
        assert_eq!(window.rate_bps(5), None);
    }
}
