//! Pictures as the clear part of RTP shows them: timestamps, markers, arrival times. No key is needed.

/// A gap between pictures is a freeze beyond this many microseconds and [`FREEZE_PICTURES`] picture times.
const FREEZE_US: u64 = 200_000;
const FREEZE_PICTURES: u64 = 3;
/// Weight of the newest interval in the mean, as a shift.
const MEAN_SHIFT: u32 = 4;

/// What a packet meant for the pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// A picture ended.
    pub ended: bool,
    /// Since the picture before it, in microseconds.
    pub interval_us: Option<u64>,
    /// The picture came this many microseconds too late.
    pub frozen_us: Option<u64>,
}

/// The pictures of one video stream.
#[derive(Debug, Default)]
pub struct Pictures {
    newest: Option<u32>,
    ended: bool,
    last_end_us: Option<u64>,
    mean_us: u64,
}

impl Pictures {
    /// Takes a packet: its timestamp, whether it is the last of its picture, and when it arrived.
    pub fn take(&mut self, timestamp: u32, marker: bool, wall_us: u64) -> Progress {
        let newer = self.newest.is_none_or(|newest| (timestamp.wrapping_sub(newest) as i32) > 0);
        if newer {
            self.newest = Some(timestamp);
            self.ended = false;
        }
        if !marker || self.ended || self.newest != Some(timestamp) {
            return Progress::default();
        }
        self.ended = true;
        let interval_us = self.last_end_us.replace(wall_us).map(|last| wall_us.saturating_sub(last));
        Progress { ended: true, interval_us, frozen_us: interval_us.and_then(|gap_us| self.freeze(gap_us)) }
    }

    /// The mean time between pictures in microseconds, 0 before the second.
    pub fn interval_us(&self) -> u64 {
        self.mean_us
    }

    fn freeze(&mut self, gap_us: u64) -> Option<u64> {
        let limit_us = FREEZE_US + FREEZE_PICTURES * self.mean_us;
        if gap_us > limit_us && self.mean_us > 0 {
            return Some(gap_us - self.mean_us);
        }
        self.mean_us = match self.mean_us {
            0 => gap_us,
            mean => mean - (mean >> MEAN_SHIFT) + (gap_us >> MEAN_SHIFT),
        };
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_picture_once_and_sees_freezes() {
        let mut pictures = Pictures::default();
        let mut ended = 0;
        for index in 0..30u32 {
            let now = u64::from(index) * 33_000;
            assert_eq!(pictures.take(index * 3000, false, now), Progress::default());
            ended += u32::from(pictures.take(index * 3000, true, now).ended);
            ended += u32::from(pictures.take(index * 3000, true, now).ended);
        }
        assert_eq!(ended, 30);
        assert!((32_000..=33_000).contains(&pictures.interval_us()));
        let late = pictures.take(30 * 3000, true, 29 * 33_000 + 400_000);
        assert!(late.ended && late.frozen_us.is_some_and(|us| us > 360_000));
        assert_eq!(pictures.take(31 * 3000, true, 29 * 33_000 + 433_000).frozen_us, None);
    }

    #[test]
    fn a_repeat_of_an_older_picture_changes_nothing() {
        let mut pictures = Pictures::default();
        pictures.take(u32::MAX, true, 0);
        assert!(pictures.take(5, true, 33_000).ended);
        assert!(!pictures.take(u32::MAX, true, 34_000).ended);
    }
}
