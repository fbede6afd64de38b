//! When packets with a transport-wide sequence number arrived, and the feedback that says so
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01, section 3.1).

use crate::feedback;
use crate::sequence::unwrap;

/// Most packets one feedback covers; older ones are left out.
const MAX_RANGE: u64 = 1_500;
/// Microseconds of one tick of a delta.
const TICK_US: u64 = 250;
/// Microseconds of one unit of the reference time.
const REFERENCE_US: u64 = 64_000;
const NOT_RECEIVED: u8 = 0;
const SMALL_DELTA: u8 = 1;
const LARGE_DELTA: u8 = 2;
/// Equal symbols from which on a run-length chunk is the shorter form.
const WORTH_A_RUN: usize = 8;
const MAX_RUN: usize = 0x1fff;
const SYMBOLS_A_VECTOR: usize = 7;

/// Arrivals since the last feedback. Its buffers are kept, so that recording does not allocate.
#[derive(Debug, Default)]
pub struct Arrivals {
    entries: Vec<(u64, u64)>,
    highest: Option<u64>,
    next_base: Option<u64>,
    feedbacks: u8,
    symbols: Vec<u8>,
    deltas: Vec<i32>,
}

impl Arrivals {
    /// Notes that the packet with this number arrived, `wall_us` in microseconds.
    pub fn record(&mut self, number: u16, wall_us: u64) {
        let extended = unwrap(self.highest, number);
        self.highest = Some(self.highest.map_or(extended, |highest| highest.max(extended)));
        if (self.entries.len() as u64) < MAX_RANGE {
            self.entries.push((extended, wall_us));
        }
    }

    /// Whether there is anything to report.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends a feedback packet about everything since the last one, and forgets it.
    pub fn write(&mut self, out: &mut Vec<u8>, own_ssrc: u32, media_ssrc: u32) {
        self.entries.sort_unstable();
        self.entries.dedup_by_key(|entry| entry.0);
        let (Some(&(first, _)), Some(&(last, _))) = (self.entries.first(), self.entries.last()) else {
            return;
        };
        let base = self.next_base.filter(|base| *base < first).unwrap_or(first).max(last.saturating_sub(MAX_RANGE));
        self.next_base = Some(last + 1);
        let reference = self.encode(base, last);
        let count = self.feedbacks;
        self.feedbacks = count.wrapping_add(1);
        feedback::write_transport_cc(out, own_ssrc, media_ssrc, |out| {
            out.extend_from_slice(&(base as u16).to_be_bytes());
            out.extend_from_slice(&(self.symbols.len() as u16).to_be_bytes());
            out.extend_from_slice(&(((reference as u32) << 8) | u32::from(count)).to_be_bytes());
            write_chunks(out, &self.symbols);
            write_deltas(out, &self.deltas);
        });
        self.entries.clear();
    }

    /// Fills symbols and deltas for the numbers `base` to `last`; returns the reference time.
    fn encode(&mut self, base: u64, last: u64) -> u64 {
        self.symbols.clear();
        self.deltas.clear();
        let mut entries = self.entries.iter().skip_while(|entry| entry.0 < base).peekable();
        let reference = entries.peek().map_or(0, |entry| entry.1 / REFERENCE_US);
        let mut previous_tick = (reference * REFERENCE_US / TICK_US) as i64;
        for number in base..=last {
            let symbol = match entries.next_if(|entry| entry.0 == number) {
                None => NOT_RECEIVED,
                Some((_, wall_us)) => {
                    let delta = ((wall_us / TICK_US) as i64 - previous_tick).clamp(i16::MIN.into(), i16::MAX.into());
                    previous_tick += delta;
                    self.deltas.push(delta as i32);
                    if (0..256).contains(&delta) { SMALL_DELTA } else { LARGE_DELTA }
                }
            };
            self.symbols.push(symbol);
        }
        reference
    }
}

/// Runs of equal symbols as run-length chunks, the rest as vectors of seven two-bit symbols.
fn write_chunks(out: &mut Vec<u8>, symbols: &[u8]) {
    let mut rest = symbols;
    while let Some(&first) = rest.first() {
        let run = rest.iter().take_while(|symbol| **symbol == first).count().min(MAX_RUN);
        let (chunk, taken) = if run >= WORTH_A_RUN || run == rest.len() {
            (u16::from(first) << 13 | run as u16, run)
        } else {
            let seven = rest.iter().chain([NOT_RECEIVED; SYMBOLS_A_VECTOR].iter()).take(SYMBOLS_A_VECTOR);
            (seven.fold(0b11, |chunk, symbol| chunk << 2 | u16::from(*symbol)), SYMBOLS_A_VECTOR.min(rest.len()))
        };
        out.extend_from_slice(&chunk.to_be_bytes());
        rest = &rest[taken..];
    }
}

fn write_deltas(out: &mut Vec<u8>, deltas: &[i32]) {
    for delta in deltas {
        match u8::try_from(*delta) {
            Ok(small) => out.push(small),
            Err(_) => out.extend_from_slice(&(*delta as i16).to_be_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads feedback back: (number, arrival in ticks) of each received packet.
    fn read(packet: &[u8]) -> Vec<(u16, i64)> {
        let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let (base, count) = (word(12), usize::from(word(14)));
        let mut tick = i64::from(u32::from_be_bytes([0, packet[16], packet[17], packet[18]])) * 256;
        let (mut at, mut symbols) = (20, Vec::new());
        while symbols.len() < count {
            let chunk = word(at);
            at += 2;
            if chunk & 0x8000 == 0 {
                symbols.extend(std::iter::repeat_n((chunk >> 13) as u8, usize::from(chunk & 0x1fff)));
            } else {
                symbols.extend((0..7).map(|index| (chunk >> (12 - 2 * index)) as u8 & 3));
            }
        }
        let mut received = Vec::new();
        for (index, symbol) in symbols.into_iter().take(count).enumerate() {
            match symbol {
                SMALL_DELTA => {
                    tick += i64::from(packet[at]);
                    at += 1;
                }
                LARGE_DELTA => {
                    tick += i64::from(word(at) as i16);
                    at += 2;
                }
                _ => continue,
            }
            received.push((base.wrapping_add(index as u16), tick));
        }
        received
    }

    #[test]
    fn continues_where_the_last_feedback_ended() {
        let mut arrivals = Arrivals::default();
        arrivals.record(65_534, 1_000_000);
        arrivals.write(&mut Vec::new(), 1, 2);
        arrivals.record(1, 1_010_000);
        let mut out = Vec::new();
        arrivals.write(&mut out, 1, 2);
        assert_eq!(out[12..16], [0xff, 0xff, 0, 3]);
        assert_eq!(out[19], 1);
        assert_eq!(read(&out), [(1, 4040)]);
        assert!(arrivals.is_empty());
    }

    proptest! {
        #[test]
        fn says_what_was_recorded(steps in proptest::collection::vec((1u16..20, 0u64..3_000), 1..300), start: u16) {
            let mut arrivals = Arrivals::default();
            let (mut number, mut time, mut expected) = (start, 5_000_000u64, Vec::new());
            for (step, later) in steps {
                number = number.wrapping_add(step);
                time += later * 100;
                if expected.len() < 70 {
                    arrivals.record(number, time);
                    expected.push((number, (time / TICK_US) as i64));
                }
            }
            let mut out = Vec::new();
            arrivals.write(&mut out, 1, 2);
            prop_assert_eq!(out.len() % 4, 0);
            prop_assert_eq!(usize::from(u16::from_be_bytes([out[2], out[3]])) * 4 + 4, out.len());
            prop_assert_eq!(read(&out), expected);
        }
    }
}
