//! A stream in its simulcast qualities: a cache of packetised pictures for each layer, and what each takes.
//!
//! Pictures of all layers carry the same RTP time where they show the same moment, so a viewer can go from one layer to
//! another at any keyframe. The number of caches is fixed: a layer that comes back goes on numbering where it was, and
//! what a viewer remembers of sent packets never finds another picture.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::layers::LayerState;
use crate::stream::{PacketizedFrame, Stream};

/// Layers a stream may have.
pub const MAX_LAYERS: usize = 4;
/// A measured rate counts from this much of a layer on; before, one keyframe would be most of it.
const MEASURED_OVER: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub struct LayeredStream {
    caches: [Stream; MAX_LAYERS],
    nominal_bps: [u64; MAX_LAYERS],
    described: usize,
}

impl LayeredStream {
    /// The stream has these layers, lowest first, each taking about so many bits a second; none: it has one that
    /// nothing is known of. Those beyond [`MAX_LAYERS`] are left out; pictures of layers that are no more are forgotten.
    pub fn describe(&mut self, rates_bps: &[u64]) {
        self.described = rates_bps.len().min(MAX_LAYERS);
        self.nominal_bps = std::array::from_fn(|layer| rates_bps.get(layer).copied().unwrap_or(0));
        let count = self.count();
        self.caches.iter_mut().skip(count).for_each(Stream::clear);
    }

    /// Whether its layers were told.
    pub fn is_described(&self) -> bool {
        self.described > 0
    }

    /// What its layers were said to take, lowest first; none if they were not told.
    pub fn rates_bps(&self) -> &[u64] {
        &self.nominal_bps[..self.described]
    }

    /// Number of layers, at least one.
    pub fn count(&self) -> usize {
        self.described.max(1)
    }

    /// Keep a picture. Returns false for one of a layer that the stream does not have.
    pub fn push(&mut self, frame: Arc<PacketizedFrame>) -> bool {
        let count = self.count();
        let Some(cache) = self.caches.iter_mut().take(count).nth(usize::from(frame.layer)) else { return false };
        cache.push(frame);
        true
    }

    /// A layer's pictures; the highest one's beyond the last.
    #[inline]
    pub fn layer(&self, layer: u8) -> &Stream {
        &self.caches[usize::from(layer).min(MAX_LAYERS - 1)]
    }

    /// When the newest picture of any layer came.
    pub fn latest(&self) -> Option<Instant> {
        self.caches.iter().filter_map(Stream::latest).max()
    }

    /// What the most demanding layer takes, bits a second.
    pub fn top_bps(&self) -> u64 {
        let measured = self.caches.iter().map(Stream::bits_per_s);
        measured.zip(self.nominal_bps).map(|(measured, nominal)| measured.max(nominal)).max().unwrap_or(0)
    }

    /// The layers now, for a [`crate::layers::LayerSelector`].
    pub fn states(&self, now: Instant) -> ([LayerState; MAX_LAYERS], usize) {
        let states = std::array::from_fn(|layer| {
            let cache = &self.caches[layer];
            let silence = cache.latest().map_or(Duration::MAX, |at| now.saturating_duration_since(at));
            let is_measured = silence < MEASURED_OVER && cache.span() >= MEASURED_OVER;
            LayerState { bps: if is_measured { cache.bits_per_s() } else { self.nominal_bps[layer] }, silence }
        });
        (states, self.count())
    }
}
