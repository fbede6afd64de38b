//! A source of one stream in three layers, and what a viewer was shown of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use farstage_fanout::events::{Command, Event};
use farstage_fanout::stream::PacketizedFrame;
use farstage_rtp::depacketize::depacketize;
use farstage_rtp::packetize::Codec;

use super::client::Media;
use super::world::{PICTURE_INTERVAL, STREAM, World, noise};

/// What the layers take, bits a second.
pub const RATES_BPS: [u64; 3] = [300_000, 1_000_000, 2_500_000];
const TICKS_PER_PICTURE: u32 = 3_000;
/// A keyframe is so much larger than the others.
const KEYFRAME_FACTOR: usize = 3;
/// Between the layers of one moment.
const ENCODING: Duration = Duration::from_millis(4);

/// A picture that a viewer has whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub layer: u8,
    pub keyframe: bool,
    /// Counts the moments.
    pub number: u32,
    pub timestamp: u32,
    pub picture_id: u16,
}

/// See the module.
pub struct Simulcast {
    /// The layers that are encoded, in this order.
    pub encoded: Vec<u8>,
    /// Whether wishes for keyframes are heard.
    pub hears: bool,
    number: u32,
    heard: usize,
    keyframes: [bool; 3],
    pictures: HashMap<(u32, u8), (Vec<u8>, bool)>,
}

impl Simulcast {
    /// Describes the stream. Each layer begins with a keyframe.
    pub fn new(world: &mut World) -> Self {
        world.command(&Command::Layers(STREAM, Arc::from(RATES_BPS)));
        let (encoded, keyframes) = (vec![0, 1, 2], [true; 3]);
        Self { encoded, hears: true, number: 0, heard: 0, keyframes, pictures: HashMap::new() }
    }

    /// A layer that was not encoded is from now on, from a keyframe.
    pub fn begin(&mut self, layer: u8) {
        self.encoded.push(layer);
        self.keyframes[usize::from(layer)] = true;
    }

    /// Plays for a while. After each picture all viewers report what arrived, truly.
    pub fn play(&mut self, world: &mut World, duration: Duration) {
        let end = world.now + duration;
        while world.now < end {
            self.moment(world);
            for viewer in &mut world.viewers {
                viewer.report_arrivals(world.now);
            }
            world.settle();
        }
    }

    /// One picture of each layer, and the time until the next.
    pub fn moment(&mut self, world: &mut World) {
        self.listen(world);
        self.number += 1;
        let next = world.now + PICTURE_INTERVAL;
        for layer in self.encoded.clone() {
            self.encode(world, layer);
            world.run(ENCODING);
        }
        world.run(next - world.now);
    }

    fn listen(&mut self, world: &World) {
        for event in &world.events[self.heard.min(world.events.len())..] {
            if let (Event::KeyframeNeeded(STREAM, layer), true) = (event, self.hears) {
                self.keyframes[usize::from(*layer)] = true;
            }
        }
        self.heard = world.events.len();
    }

    fn encode(&mut self, world: &mut World, layer: u8) {
        let keyframe = std::mem::take(&mut self.keyframes[usize::from(layer)]);
        let bytes = RATES_BPS[usize::from(layer)] as usize / 8 / 30;
        let bytes = if keyframe { bytes * KEYFRAME_FACTOR } else { bytes };
        let picture = noise(u64::from(self.number) << 2 | u64::from(layer), bytes);
        let id = (self.number & 0x7FFF) as u16;
        let frame = PacketizedFrame::new(Codec::Vp8, &picture, keyframe, self.timestamp(self.number), id, world.now);
        self.pictures.insert((self.number, layer), (picture, keyframe));
        world.command(&Command::Frame(STREAM, Arc::new(frame.expect("a picture").in_layer(layer))));
        world.settle();
    }

    fn timestamp(&self, number: u32) -> u32 {
        4_294_900_000_u32.wrapping_add(number * TICKS_PER_PICTURE)
    }

    /// The pictures that a viewer has whole, in the order of arrival. Fails on packets that are not of a whole picture.
    pub fn shown(&self, world: &World, viewer: usize) -> Vec<Shown> {
        let video = &world.viewers[viewer].video;
        assert!(video.windows(2).all(|pair| pair[1].index == pair[0].index + 1), "numbers go on without a gap");
        let pictures: Vec<&[Media]> = video.split_inclusive(|media| media.marker).collect();
        pictures
            .into_iter()
            .filter(|packets| packets.last().is_some_and(|last| last.marker))
            .map(|p| self.find(p))
            .collect()
    }

    fn find(&self, packets: &[Media]) -> Shown {
        let mut picture = Vec::new();
        let payloads = packets.iter().map(|media| media.payload.as_slice());
        depacketize(Codec::Vp8, payloads, &mut picture).expect("a whole picture");
        let timestamp = packets[0].timestamp;
        assert!(packets.iter().all(|media| media.timestamp == timestamp));
        let number = timestamp.wrapping_sub(4_294_900_000) / TICKS_PER_PICTURE;
        let layer = (0..3).find(|layer| self.pictures.get(&(number, *layer)).is_some_and(|(sent, _)| *sent == picture));
        let layer = layer.expect("a picture as it was sent");
        let picture_id = u16::from_be_bytes([packets[0].payload[2], packets[0].payload[3]]) & 0x7FFF;
        Shown { layer, keyframe: self.pictures[&(number, layer)].1, number, timestamp, picture_id }
    }

    /// The same, checked for what decoding needs: each picture follows its predecessor or is a keyframe, time rises.
    pub fn decoded(&self, world: &World, viewer: usize) -> Vec<Shown> {
        let shown = self.shown(world, viewer);
        assert!(shown.first().is_none_or(|first| first.keyframe), "decoding starts at a keyframe");
        for pair in shown.windows(2) {
            let [before, after] = [pair[0], pair[1]];
            assert!(after.number > before.number, "time rises: {before:?} {after:?}");
            assert!(after.picture_id > before.picture_id, "picture ids rise: {before:?} {after:?}");
            let follows = after.layer == before.layer && after.number == before.number + 1;
            assert!(after.keyframe || follows, "nothing that decoding needs is left out: {before:?} {after:?}");
        }
        shown
    }
}

/// The layers in the order in which they were shown, each change once.
pub fn changes(shown: &[Shown]) -> Vec<u8> {
    let mut layers: Vec<u8> = shown.iter().map(|picture| picture.layer).collect();
    layers.dedup();
    layers
}
