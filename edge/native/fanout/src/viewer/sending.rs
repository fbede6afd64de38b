//! What goes out to one viewer: its place in the stream, what is sent from there, and what is sent again.

use std::time::{Duration, Instant};

use super::Viewer;
use crate::clock::WireClock;
use crate::connection::Surroundings;
use crate::layered::LayeredStream;
use crate::outlet::Outlet;
use crate::retransmission::Verdict;
use crate::sender::Times;
use crate::stream::Stream;

/// How much longer than a round trip a keyframe may take to be decoded.
const KEYFRAME_PATIENCE: Duration = Duration::from_millis(250);
/// Packets of one probe at most.
const MAX_PROBE_PACKETS: u16 = 128;
/// Packets sent to one viewer in one go while it catches up.
const MAX_PACKETS_AT_ONCE: u16 = 704;

/// A viewer's position among a layer's pictures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) layer: u8,
    pub(super) frame: u64,
    pub(super) run: usize,
    pub(super) awaiting_keyframe: bool,
}

impl Position {
    /// At a picture that decoding can start from.
    pub(super) fn at_keyframe(layer: u8, frame: u64) -> Self {
        Self { layer, frame, run: 0, awaiting_keyframe: false }
    }

    /// At a picture from which on the next keyframe is waited for.
    pub(super) fn awaiting(layer: u8, frame: u64) -> Self {
        Self { layer, frame, run: 0, awaiting_keyframe: true }
    }
}

/// What a pump did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pumped {
    /// All that was there is sent.
    Done,
    /// More is there, for when there is credit or room.
    Behind,
    /// The viewer waits for a keyframe of the layer that it is to get, and nobody has it.
    NeedsKeyframe,
}

impl Viewer {
    /// A keyframe is asked for. What is sent before it comes could not be decoded and would only stand in its way, so
    /// nothing is. Returns false while the last keyframe may still be on its way: its viewer asks again if it is not.
    pub(super) fn lost_the_picture(&mut self, stream: Option<&LayeredStream>, now: Instant) -> bool {
        let patience = self.feedback.rtt.unwrap_or_default() + KEYFRAME_PATIENCE;
        if self.keyframe_sent.is_some_and(|sent| now.saturating_duration_since(sent) < patience) {
            return false;
        }
        if let (Some(position), Some(stream)) = (self.position, stream) {
            let sending_one = stream.layer(position.layer).frame(position.frame).is_some_and(|frame| frame.keyframe);
            if !sending_one {
                let wanted = self.wanted_layer();
                self.freezes += u64::from(!position.awaiting_keyframe);
                self.position = Some(Position::awaiting(wanted, stream.layer(wanted).next()));
            }
        }
        true
    }

    /// Send again what the viewer misses. Returns whether a picture since the newest keyframe stays incomplete, so that
    /// only another keyframe helps: a browser would wait for seconds before it asks for one.
    pub(super) fn repeat<O: Outlet>(
        &mut self,
        missing: &[u16],
        stream: &LayeredStream,
        around: &mut Surroundings<'_, O>,
    ) -> bool {
        let is_narrow = self.pacer.is_draining();
        // Repeats of a layer that the line does not take only make longer what waits before it.
        if !self.consents(around.now) || is_narrow && self.wanted_layer() < self.layer() {
            return false;
        }
        let Some(keys) = &self.connection.keys else { return false };
        let rtt = self.feedback.rtt.unwrap_or_default();
        // What comes before the newest keyframe can wait; before a long queue it would stand in the keyframe's way.
        let (first, then): (Vec<u16>, Vec<u16>) = missing.iter().partition(|at| self.video.is_since_keyframe(**at));
        let then = if is_narrow { Vec::new() } else { then };
        let mut is_hopeless = false;
        for sequence in first.iter().chain(&then) {
            let verdict = if !self.video.can_repeat(*sequence, stream) {
                Verdict::Never
            } else if self.pacer.may_repeat(around.now) {
                self.feedback.budget.judge(*sequence, rtt, around.now)
            } else {
                Verdict::TooSoon
            };
            is_hopeless |= verdict == Verdict::Never && self.video.is_since_keyframe(*sequence);
            if verdict != Verdict::Now {
                continue;
            }
            let times = |arrived| times_of(arrived, around.now, around.clock);
            let sent =
                self.video.repeat(&keys.sender, *sequence, stream, times, (self.connection.path, &mut *around.out));
            if let Some(sent) = sent {
                self.pacer.spend(sent.bytes);
                // A copy has the transport-wide number that it had: its arrival was told, or is told as the first's.
                if self.setup.agreement.video.rtx_payload.is_some() {
                    self.feedback.sent(&sent, around.now);
                }
            }
        }
        is_hopeless
    }

    /// Let pictures leave as fast as the line takes them, or as the stream needs it if that is more: a viewer is never
    /// held below what it is shown, unless it is on its way to less.
    pub(super) fn set_pace(&mut self, stream: &LayeredStream) {
        let goes_down = self.wanted_layer() < self.layer();
        let needed_bps = if goes_down { 0 } else { stream.layer(self.layer()).bits_per_s() };
        self.pacer.set_rate(self.feedback.estimate_bps().max(needed_bps));
        if stream.count() > 1 {
            self.pacer.set_queue(self.feedback.queue());
        }
    }

    /// Send what the stream has beyond the viewer's position, as far as credit and room go.
    pub fn pump<O: Outlet>(&mut self, stream: &LayeredStream, around: &mut Surroundings<'_, O>) -> Pumped {
        if self.connection.keys.is_none() || !self.is_connected() || !self.consents(around.now) {
            return Pumped::Done;
        }
        let mut position = match self.position {
            Some(position) => position,
            None => self.start(stream, around.now),
        };
        let pumped = self.send_from(&mut position, stream, around);
        self.position = Some(position);
        pumped
    }

    fn send_from<O: Outlet>(
        &mut self,
        position: &mut Position,
        stream: &LayeredStream,
        around: &mut Surroundings<'_, O>,
    ) -> Pumped {
        let mut budget = MAX_PACKETS_AT_ONCE;
        loop {
            self.change_layer(position, stream, around.now);
            let layer = stream.layer(position.layer);
            if position.frame >= layer.next() {
                break;
            }
            let Some(frame) = layer.frame(position.frame) else {
                self.fall_to_newest(position, layer);
                continue;
            };
            if position.awaiting_keyframe && !(frame.keyframe && self.is_news(frame)) {
                self.frames_skipped += 1;
                position.frame += 1;
                continue;
            }
            position.awaiting_keyframe = false;
            let Some(run) = frame.runs.get(position.run).copied() else {
                position.frame += 1;
                position.run = 0;
                continue;
            };
            if budget == 0 || !self.pacer.may_send(around.now) || self.is_held(position, frame, stream, around.now) {
                return Pumped::Behind;
            }
            budget = budget.saturating_sub(run.count);
            let Some(keys) = &self.connection.keys else { return Pumped::Done };
            let times = times_of(frame.arrived, around.now, around.clock);
            let out = (self.connection.path, &mut *around.out);
            let Some(sent) = self.video.send_run(&keys.sender, (position.frame, frame), run, times, out) else {
                return Pumped::Behind;
            };
            position.run += 1;
            self.newest_sent = Some(frame.timestamp);
            if frame.keyframe {
                self.keyframe_sent = Some(around.now);
            }
            self.sent_bytes += u64::from(sent.bytes);
            self.pacer.spend(sent.bytes);
            self.feedback.budget.earn(u32::from(sent.packets));
            self.feedback.sent(&sent, around.now);
        }
        let waits = position.awaiting_keyframe || position.layer != self.wanted_layer();
        if waits { Pumped::NeedsKeyframe } else { Pumped::Done }
    }

    /// The layer has moved on beyond what it keeps: nothing can be decoded before the next keyframe.
    fn fall_to_newest(&mut self, position: &mut Position, layer: &Stream) {
        let newest = layer.newest();
        self.frames_skipped += newest.saturating_sub(position.frame);
        self.freezes += u64::from(!position.awaiting_keyframe && self.newest_sent.is_some());
        *position = Position::awaiting(position.layer, newest);
    }

    /// Sound for this viewer.
    pub fn send_audio<O: Outlet>(&mut self, timestamp: u32, opus_frame: &[u8], around: &mut Surroundings<'_, O>) {
        if !self.is_connected() || !self.consents(around.now) {
            return;
        }
        if let (Some(keys), Some(audio)) = (&self.connection.keys, &mut self.audio) {
            self.sent_bytes += opus_frame.len() as u64;
            audio.send(&keys.sender, timestamp, opus_frame, self.connection.path, around.out);
        }
    }

    /// Send packets again that the viewer has, as a burst whose arrival shows what the line takes.
    pub(super) fn probe<O: Outlet>(&mut self, bytes: u32, stream: &LayeredStream, around: &mut Surroundings<'_, O>) {
        let Some(keys) = &self.connection.keys else { return };
        if !self.consents(around.now) {
            return;
        }
        let mut left = i64::from(bytes);
        for sequence in self.video.recent(MAX_PROBE_PACKETS) {
            let times = |arrived| times_of(arrived, around.now, around.clock);
            let sent =
                self.video.repeat(&keys.sender, sequence, stream, times, (self.connection.path, &mut *around.out));
            let Some(sent) = sent else { return };
            self.feedback.probed(&sent, around.now);
            left -= i64::from(sent.bytes);
            if left <= 0 {
                return;
            }
        }
    }
}

fn times_of(arrived: Instant, now: Instant, clock: &WireClock) -> Times {
    Times { capture_ntp: clock.ntp(arrived), send_ntp: clock.ntp(now) }
}
