//! Time as viewers see it: microseconds since the start for timers, Unix microseconds for arrivals.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds from the NTP era to the Unix epoch (RFC 5905).
const NTP_TO_UNIX_S: u64 = 2_208_988_800;

/// When something arrived.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival {
    /// When it was read, on the monotonic clock of [`Clock`].
    pub now_us: u64,
    /// When the kernel received it, Unix time.
    pub wall_us: u64,
}

/// The clock of a run; all threads share its origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Microseconds since the start.
    pub fn now_us(&self) -> u64 {
        self.origin.elapsed().as_micros() as u64
    }

    /// The instant of a number of microseconds since the start.
    pub fn instant(&self, now_us: u64) -> Instant {
        self.origin + Duration::from_micros(now_us)
    }

    /// Microseconds since the start of an instant; 0 for one before it.
    pub fn micros(&self, instant: Instant) -> u64 {
        instant.saturating_duration_since(self.origin).as_micros() as u64
    }

    /// Unix time in microseconds.
    pub fn wall_us() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
    }
}

/// Unix microseconds of a 64-bit NTP time, as abs-capture-time carries it.
pub fn unix_us_of_ntp(ntp: u64) -> u64 {
    let seconds = (ntp >> 32).saturating_sub(NTP_TO_UNIX_S);
    seconds * 1_000_000 + (((ntp & 0xffff_ffff) * 1_000_000) >> 32)
}
