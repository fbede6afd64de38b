//! Wall-clock time for what goes on the wire, derived from the monotonic time that is passed in.

use std::time::{Duration, Instant};

/// Seconds from 1900 (NTP) to 1970 (Unix).
const NTP_UNIX_OFFSET_S: u64 = 2_208_988_800;

/// Maps monotonic instants to NTP timestamps; set once, so that a step of the system's clock shows nowhere.
#[derive(Debug, Clone, Copy)]
pub struct WireClock {
    start: Instant,
    unix_at_start: Duration,
}

impl WireClock {
    /// `unix_at_start` is the time since 1970 at the instant `start`.
    pub fn new(start: Instant, unix_at_start: Duration) -> Self {
        Self { start, unix_at_start }
    }

    /// 64-bit NTP timestamp: seconds since 1900 and their fraction in units of 2^-32 (RFC 5905, section 6).
    pub fn ntp(&self, at: Instant) -> u64 {
        let unix = self.unix_at_start + at.saturating_duration_since(self.start);
        let seconds = unix.as_secs().wrapping_add(NTP_UNIX_OFFSET_S);
        let fraction = (u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000;
        seconds << 32 | fraction
    }
}

/// Microseconds since 1970 of a 64-bit NTP timestamp; times before are negative.
pub fn unix_us_of_ntp(ntp: u64) -> i64 {
    let seconds = (ntp >> 32) as i64 - NTP_UNIX_OFFSET_S as i64;
    let fraction_us = ((ntp & 0xFFFF_FFFF) * 1_000_000) >> 32;
    seconds * 1_000_000 + fraction_us as i64
}
