//! Which layer one viewer is sent, and when it goes over to another: at a keyframe that is news to it, between pictures.

use std::time::{Duration, Instant};

use super::Viewer;
use super::sending::Position;
use crate::layered::LayeredStream;
use crate::layers::{Conditions, LayerSelector};
use crate::stream::PacketizedFrame;

/// Layers are encoded one after the other: the picture of the layer that is to be left waits this long for that of the
/// layer to go to, as that may be the keyframe. Sent first, it would leave no room for the keyframe of the same moment.
const HELD_FOR: Duration = Duration::from_millis(30);

impl Viewer {
    /// The layer that it is sent.
    pub fn layer(&self) -> u8 {
        self.position.map_or(self.wanted_layer(), |position| position.layer)
    }

    /// The layer that it is to get.
    pub fn wanted_layer(&self) -> u8 {
        self.selector.as_ref().map_or(0, LayerSelector::target)
    }

    /// Whether it waits for a keyframe of another layer than it is sent.
    pub fn is_changing_layer(&self, now: Instant) -> bool {
        self.is_connected() && self.consents(now) && self.position.is_some() && self.layer() != self.wanted_layer()
    }

    /// Think about what it is to get.
    pub(super) fn choose_layer(&mut self, stream: &LayeredStream, now: Instant) {
        if stream.count() == 1 {
            self.selector = None;
            return;
        }
        let (states, count) = stream.states(now);
        let layers = states.get(..count).unwrap_or_default();
        let estimate_bps = self.feedback.estimate_bps();
        let Some(mut selector) = self.selector.take() else {
            self.selector = Some(LayerSelector::new(estimate_bps, layers, now));
            return;
        };
        let loss = self.feedback.loss.unwrap_or_default();
        selector.update(&Conditions { layers, shown: self.layer(), estimate_bps, loss }, now);
        self.selector = Some(selector);
    }

    /// Where it starts: with the wanted layer or the next lower one that is there at once.
    pub(super) fn start(&mut self, stream: &LayeredStream, now: Instant) -> Position {
        self.choose_layer(stream, now);
        let wanted = self.wanted_layer();
        let at_once = (0..=wanted).rev().find_map(|layer| Some((layer, stream.layer(layer).fresh_group(now)?)));
        match at_once {
            Some((layer, frame)) => Position::at_keyframe(layer, frame),
            None => Position::awaiting(wanted, stream.layer(wanted).newest()),
        }
    }

    /// Go over to the wanted layer if it can be decoded from here on; at once if nothing is shown meanwhile.
    pub(super) fn change_layer(&self, position: &mut Position, stream: &LayeredStream, now: Instant) {
        let wanted = self.wanted_layer();
        if position.layer == wanted || position.run > 0 {
            return;
        }
        let layer = stream.layer(wanted);
        let is_news = |number: &u64| layer.frame(*number).is_some_and(|frame| self.is_news(frame));
        if let Some(keyframe) = layer.fresh_group(now).filter(is_news) {
            *position = Position::at_keyframe(wanted, keyframe);
        } else if position.awaiting_keyframe {
            *position = Position::awaiting(wanted, layer.next());
        }
    }

    /// Whether a picture shows a later moment than what was sent: RTP time does not run backwards, nor stand still.
    pub(super) fn is_news(&self, frame: &PacketizedFrame) -> bool {
        self.newest_sent.is_none_or(|newest| frame.is_later_than(newest))
    }

    /// Whether a picture waits for that of the wanted layer.
    pub(super) fn is_held(
        &self,
        position: &Position,
        frame: &PacketizedFrame,
        stream: &LayeredStream,
        now: Instant,
    ) -> bool {
        let wanted = self.wanted_layer();
        position.layer != wanted
            && position.run == 0
            && position.frame + 1 == stream.layer(position.layer).next()
            && now.saturating_duration_since(frame.arrived) < HELD_FOR
            && !stream.layer(wanted).has_reached(frame.timestamp)
    }
}
