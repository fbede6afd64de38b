//! A stream as the engine keeps it: pictures packetised once, for all who watch, and the last of them kept.
//!
//! The kept pictures serve three ends: repeats for viewers that lost packets, the current group of pictures for those
//! who join, and catching up for those who are sent a large picture piece by piece. One cache per stream and layer, not
//! per viewer; viewers hold positions in it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farstage_rtp::packetize::{Codec, FrameError, Payloads, packetize};

/// RTP payload bytes a packet may carry: with headers, extensions and tag it fits any path of 1,280 bytes.
pub const MAX_PAYLOAD_BYTES: usize = 1_160;
/// Pictures kept for repeats.
const KEPT_FOR: Duration = Duration::from_secs(2);
const MAX_KEPT_FRAMES: usize = 512;
const MAX_KEPT_BYTES: usize = 16 << 20;
/// A newcomer is served a group this young and small at once; beyond, a keyframe is cheaper.
const GROUP_FRESH_FOR: Duration = Duration::from_millis(2_500);
const MAX_GROUP_BYTES: usize = 1 << 20;
/// Largest picture taken from a source.
pub const MAX_FRAME_BYTES: usize = 8 << 20;
/// Datagrams of one segmentation-offload send; Linux takes no more, and no more bytes than one datagram could have.
const MAX_RUN_PACKETS: usize = 44;

/// Packets of one picture with equal payloads, the last of which may be shorter: what one kernel send can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Index of its first packet in the picture.
    pub first: u16,
    /// How many packets.
    pub count: u16,
}

/// One picture, ready to be sent to any number of viewers.
#[derive(Debug)]
pub struct PacketizedFrame {
    /// RTP payloads.
    payloads: Payloads,
    /// How the packets may be grouped into sends.
    pub runs: Vec<Run>,
    /// RTP time, 90 kHz.
    pub timestamp: u32,
    /// Whether decoding can start here.
    pub keyframe: bool,
    /// When it arrived at the edge.
    pub arrived: Instant,
    /// Its simulcast layer, 0 the lowest.
    pub layer: u8,
}

impl PacketizedFrame {
    /// Split a picture, of the lowest layer. `picture_id` counts the stream's pictures (VP8).
    pub fn new(
        codec: Codec,
        frame: &[u8],
        keyframe: bool,
        timestamp: u32,
        picture_id: u16,
        arrived: Instant,
    ) -> Result<Self, FrameError> {
        let mut payloads = Payloads::default();
        packetize(codec, frame, MAX_PAYLOAD_BYTES, picture_id, &mut payloads)?;
        let runs = runs_of(&payloads);
        Ok(Self { payloads, runs, timestamp, keyframe, arrived, layer: 0 })
    }

    /// The same picture as one of this layer.
    pub fn in_layer(self, layer: u8) -> Self {
        Self { layer, ..self }
    }

    /// Number of packets.
    pub fn packets(&self) -> usize {
        self.payloads.len()
    }

    /// Payload of a packet; empty beyond the last.
    pub fn payload(&self, packet: usize) -> &[u8] {
        self.payloads.get(packet).unwrap_or_default()
    }

    /// Payload bytes of all packets.
    pub fn bytes(&self) -> usize {
        self.payloads.total_len()
    }

    /// Whether it shows a later moment than a picture of this RTP time.
    pub fn is_later_than(&self, timestamp: u32) -> bool {
        (self.timestamp.wrapping_sub(timestamp) as i32) > 0
    }
}

fn runs_of(payloads: &Payloads) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut segment = 0;
    let mut open = false;
    for (index, payload) in payloads.iter().enumerate() {
        let first = u16::try_from(index).unwrap_or(u16::MAX);
        let fits = open && payload.len() <= segment;
        match runs.last_mut() {
            Some(run) if fits && usize::from(run.count) < MAX_RUN_PACKETS => run.count += 1,
            _ => {
                runs.push(Run { first, count: 1 });
                segment = payload.len();
            }
        }
        open = payload.len() == segment;
    }
    runs
}

/// The kept pictures of one stream, or of one layer of it. Pictures are numbered from 0 as they come.
#[derive(Debug, Default)]
pub struct Stream {
    frames: VecDeque<Arc<PacketizedFrame>>,
    first: u64,
    kept_bytes: usize,
    keyframe: Option<u64>,
    group_bytes: usize,
}

impl Stream {
    /// Keep a picture. Returns its number.
    pub fn push(&mut self, frame: Arc<PacketizedFrame>) -> u64 {
        let number = self.next();
        if frame.keyframe {
            self.keyframe = Some(number);
            self.group_bytes = 0;
        }
        self.group_bytes = self.group_bytes.saturating_add(frame.bytes());
        self.kept_bytes += frame.bytes();
        let now = frame.arrived;
        self.frames.push_back(frame);
        self.evict(now);
        number
    }

    fn evict(&mut self, now: Instant) {
        while let Some(oldest) = self.frames.front() {
            let aged = now.saturating_duration_since(oldest.arrived) > KEPT_FOR;
            let group_starts = self.fresh_group(now).is_none_or(|start| start > self.first);
            let full = self.frames.len() > MAX_KEPT_FRAMES || self.kept_bytes > MAX_KEPT_BYTES;
            if self.frames.len() == 1 || !(full || aged && group_starts) {
                return;
            }
            self.kept_bytes -= oldest.bytes();
            self.frames.pop_front();
            self.first += 1;
        }
    }

    /// Number of the picture that comes next.
    pub fn next(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// Number of the newest kept picture; of the one that comes next if none is kept.
    pub fn newest(&self) -> u64 {
        self.first + self.frames.len().saturating_sub(1) as u64
    }

    /// A kept picture.
    pub fn frame(&self, number: u64) -> Option<&Arc<PacketizedFrame>> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.frames.get(index)
    }

    /// Forget all pictures; the next one's number stays what it would have been.
    pub fn clear(&mut self) {
        *self = Self { first: self.next(), ..Self::default() };
    }

    /// Time between the first kept picture and the last.
    pub fn span(&self) -> Duration {
        let (Some(first), Some(last)) = (self.frames.front(), self.frames.back()) else { return Duration::ZERO };
        last.arrived.saturating_duration_since(first.arrived)
    }

    /// Bits a second of the kept pictures; 0 without two of them.
    pub fn bits_per_s(&self) -> u64 {
        let span_us = self.span().as_micros() as u64;
        (self.kept_bytes as u64 * 8 * 1_000_000).checked_div(span_us).unwrap_or(0)
    }

    /// When the newest picture came.
    pub fn latest(&self) -> Option<Instant> {
        self.frames.back().map(|frame| frame.arrived)
    }

    /// Whether a picture of this RTP time or a later one has come.
    pub fn has_reached(&self, timestamp: u32) -> bool {
        self.frames.back().is_some_and(|newest| newest.is_later_than(timestamp.wrapping_sub(1)))
    }

    /// Where a newcomer starts at once: the keyframe of the current group while the group is young and small.
    pub fn fresh_group(&self, now: Instant) -> Option<u64> {
        let number = self.keyframe?;
        let frame = self.frame(number)?;
        let young = now.saturating_duration_since(frame.arrived) <= GROUP_FRESH_FOR;
        (young && self.group_bytes <= MAX_GROUP_BYTES).then_some(number)
    }
}
