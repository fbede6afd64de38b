//! Pictures of a viewer that verifies: decrypted packets in sequence order, with patience for repeats, and the state
//! of a decoder that could show only what builds on a keyframe.

use std::collections::BTreeMap;

use crate::counters::Counters;
use crate::depacketize::Picture;
use crate::sdp::Payload;

/// Most packets kept while an earlier one is waited for.
const MAX_WAITING: usize = 1024;
/// Largest picture put together, in octets.
const MAX_PICTURE: usize = 4 << 20;

/// A decrypted video packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// RTP timestamp.
    pub timestamp: u32,
    /// Last of its picture.
    pub marker: bool,
    /// Codec of its payload type.
    pub codec: Payload,
    /// Payload without padding; empty for a padding packet.
    pub payload: &'a [u8],
}

/// A whole picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole<'a> {
    /// RTP timestamp.
    pub timestamp: u32,
    /// Codec.
    pub codec: Payload,
    /// Whether decoding can begin here.
    pub keyframe: bool,
    /// Annex B for H.264, the frame for VP8.
    pub data: &'a [u8],
}

struct Waiting {
    timestamp: u32,
    marker: bool,
    codec: Payload,
    payload: Vec<u8>,
}

/// The pictures of one stream.
#[derive(Default)]
pub struct Assembly {
    next: Option<u64>,
    waiting: BTreeMap<u64, Option<Waiting>>,
    picture: Picture,
    timestamp: Option<u32>,
    /// Discard up to the next picture's start.
    damaged: bool,
    decodable: bool,
    counters: Counters,
}

impl Assembly {
    /// Takes a packet by its extended sequence number; whole pictures that decoding can show go to `show`.
    pub fn push(&mut self, number: u64, packet: Packet<'_>, mut show: impl FnMut(Whole<'_>)) {
        let next = *self.next.get_or_insert(number);
        if number == next {
            self.consume(packet, &mut show);
            self.next = Some(next + 1);
            self.drain(&mut show);
        } else if number > next && self.waiting.len() < MAX_WAITING {
            let Packet { timestamp, marker, codec, payload } = packet;
            let kept = Waiting { timestamp, marker, codec, payload: payload.to_vec() };
            self.waiting.insert(number, Some(kept));
        } else if number > next {
            self.skip_to(number);
            self.consume(packet, &mut show);
            self.next = Some(number + 1);
        }
    }

    /// Learns that the packet with this number never comes.
    pub fn lose(&mut self, number: u64, mut show: impl FnMut(Whole<'_>)) {
        match self.next {
            Some(next) if number >= next && self.waiting.len() < MAX_WAITING => {
                self.waiting.insert(number, None);
                self.drain(&mut show);
            }
            _ => {}
        }
    }

    /// Learns that everything before this number is lost or of no use.
    pub fn skip_to(&mut self, number: u64) {
        self.waiting.clear();
        self.next = Some(number);
        self.damage();
    }

    /// Whether a decoder would need a keyframe to go on.
    pub fn needs_keyframe(&self) -> bool {
        !self.decodable
    }

    /// What became of the pictures since the last call.
    pub fn take_counters(&mut self) -> Counters {
        std::mem::take(&mut self.counters)
    }

    fn drain(&mut self, show: &mut impl FnMut(Whole<'_>)) {
        while let Some(next) = self.next {
            let Some(entry) = self.waiting.remove(&next) else {
                return;
            };
            match &entry {
                Some(Waiting { timestamp, marker, codec, payload }) => {
                    let packet = Packet { timestamp: *timestamp, marker: *marker, codec: *codec, payload };
                    self.consume(packet, show);
                }
                None => self.damage(),
            }
            self.next = Some(next + 1);
        }
    }

    /// A packet is missing: the picture under way is broken, and perhaps the start of the next.
    fn damage(&mut self) {
        if !self.damaged {
            self.counters.broken_pictures += 1;
        }
        self.damaged = true;
        self.decodable = false;
        self.picture.clear();
    }

    fn consume(&mut self, packet: Packet<'_>, show: &mut impl FnMut(Whole<'_>)) {
        if packet.payload.is_empty() {
            return;
        }
        if self.timestamp.replace(packet.timestamp) != Some(packet.timestamp) && !self.picture.data.is_empty() {
            self.damage();
            self.damaged = false;
        }
        if !self.damaged {
            let added = self.picture.add(packet.codec, packet.payload);
            if added.is_err() || self.picture.data.len() > MAX_PICTURE {
                self.damage();
            }
        }
        if packet.marker {
            self.end(packet, show);
        }
    }

    fn end(&mut self, packet: Packet<'_>, show: &mut impl FnMut(Whole<'_>)) {
        if !self.damaged {
            self.finish(packet, show);
        }
        self.damaged = false;
        self.picture.clear();
    }

    fn finish(&mut self, packet: Packet<'_>, show: &mut impl FnMut(Whole<'_>)) {
        if !self.picture.is_whole() {
            self.damage();
            return;
        }
        let keyframe = self.picture.keyframe;
        self.decodable |= keyframe;
        if !self.decodable {
            self.counters.undecodable_pictures += 1;
            return;
        }
        self.counters.decodable_pictures += 1;
        show(Whole { timestamp: packet.timestamp, codec: packet.codec, keyframe, data: &self.picture.data });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of two packets: numbers `2 * index` and `2 * index + 1`.
    fn packet(number: u64, payload: &[u8]) -> Packet<'_> {
        Packet { timestamp: (number / 2) as u32, marker: number % 2 == 1, codec: Payload::Vp8, payload }
    }

    fn payload(number: u64, keyframe: bool) -> Vec<u8> {
        if number.is_multiple_of(2) { vec![0x10, u8::from(!keyframe)] } else { vec![0, number as u8] }
    }

    struct Run {
        assembly: Assembly,
        shown: Vec<u32>,
    }

    impl Run {
        fn new() -> Self {
            Self { assembly: Assembly::default(), shown: Vec::new() }
        }

        fn push(&mut self, numbers: impl IntoIterator<Item = u64>, keyframe: bool) {
            for number in numbers {
                let payload = payload(number, keyframe);
                self.assembly.push(number, packet(number, &payload), |whole| self.shown.push(whole.timestamp));
            }
        }

        /// Decodable, undecodable and broken pictures.
        fn outcome(&mut self) -> (u64, u64, u64) {
            let counters = self.assembly.take_counters();
            (counters.decodable_pictures, counters.undecodable_pictures, counters.broken_pictures)
        }

        fn lose(&mut self, number: u64) {
            self.assembly.lose(number, |whole| self.shown.push(whole.timestamp));
        }
    }

    #[test]
    fn repeats_fill_their_place() {
        let mut run = Run::new();
        run.push([0, 1], true);
        run.push([3, 4, 5], false);
        assert_eq!(run.shown, [0]);
        run.push([2], false);
        assert_eq!(run.shown, [0, 1, 2]);
        assert_eq!(run.outcome(), (3, 0, 0));
    }

    #[test]
    fn after_a_loss_pictures_wait_for_a_keyframe() {
        let mut run = Run::new();
        run.push([0, 1], true);
        run.push([3, 4, 5, 6, 7], false);
        run.lose(2);
        assert!(run.assembly.needs_keyframe());
        run.push([8, 9], true);
        assert_eq!(run.shown, [0, 4]);
        assert!(!run.assembly.needs_keyframe());
        assert_eq!(run.outcome(), (2, 2, 1));
    }

    #[test]
    fn a_lost_end_breaks_two_pictures_at_most() {
        let mut run = Run::new();
        run.push([0, 1], true);
        run.push([2, 4, 5], false);
        run.lose(3);
        run.push([6, 7], true);
        assert_eq!(run.shown, [0, 3]);
    }

    #[test]
    fn a_stream_that_begins_without_a_keyframe_shows_nothing() {
        let mut run = Run::new();
        run.push(0..6, false);
        assert!(run.shown.is_empty() && run.assembly.needs_keyframe());
        assert_eq!(run.outcome(), (0, 3, 0));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut run = Run::new();
        run.push([0, 1], true);
        run.push(4..4 + 2 * MAX_WAITING as u64, false);
        assert!(run.assembly.waiting.len() <= MAX_WAITING);
    }
}
