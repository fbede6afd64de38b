//! One encoding of a publisher's pictures: its packets, what is missing of them, and the pictures.

use std::time::{Duration, Instant};

use farstage_rtp::header::RtpHeader;
use farstage_rtp::packetize::Codec;
use farstage_rtp::rtcp::ReportBlock;

use super::missing::Missing;
use super::reassembly::{Assembled, Packet, Reassembly};
use crate::reception::Reception;

/// Keyframes of one layer are asked for no more often.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(300);
const VIDEO_HZ: u64 = 90_000;
/// Of a packet sent again: the original sequence number (RFC 4588, section 4).
const OSN_BYTES: usize = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) missing: Missing,
    pub(super) reassembly: Reassembly,
    /// The middle of the latest sender report's NTP time, and when it came.
    pub(super) sender_report: Option<(u32, Instant)>,
    reception: Option<Reception>,
    keyframe_wanted: bool,
    keyframe_asked: Option<Instant>,
    latest_timestamp: Option<u64>,
}

impl Layer {
    /// Nothing has come.
    pub(super) fn new(codec: Codec) -> Self {
        Self {
            missing: Missing::default(),
            reassembly: Reassembly::new(codec),
            sender_report: None,
            reception: None,
            keyframe_wanted: false,
            keyframe_asked: None,
            latest_timestamp: None,
        }
    }

    /// Its source, if that is known.
    pub(super) fn ssrc(&self) -> Option<u32> {
        self.reception.map(|reception| reception.ssrc)
    }

    /// Start anew if this source is another than the former. Returns whether it is.
    pub(super) fn restart_for(&mut self, ssrc: u32) -> bool {
        let is_another = self.ssrc().is_some_and(|known| known != ssrc);
        if is_another {
            self.reassembly.restart();
            self.missing = Missing::default();
            (self.reception, self.sender_report, self.latest_timestamp) = (None, None, None);
        }
        is_another
    }

    /// A packet of the source. Returns the round trip that it tells, if any.
    pub(super) fn arrived(
        &mut self,
        header: &RtpHeader<'_>,
        index: u64,
        payload: &[u8],
        now: Instant,
    ) -> Option<Duration> {
        let reception = self.reception.get_or_insert_with(|| Reception::new(header.ssrc(), VIDEO_HZ, index, now));
        reception.arrived(index, header.timestamp(), now);
        self.take(header, index, payload, now)
    }

    /// A packet that was sent again under a source of its own; of no use before the first packet of the layer.
    pub(super) fn repeated(&mut self, header: &RtpHeader<'_>, payload: &[u8], now: Instant) -> Option<Duration> {
        let (number, payload) = payload.split_first_chunk::<OSN_BYTES>()?;
        let highest = self.missing.highest()?;
        let distance = i64::from(u16::from_be_bytes(*number).wrapping_sub(highest as u16) as i16);
        self.take(header, highest.checked_add_signed(distance)?, payload, now)
    }

    fn take(&mut self, header: &RtpHeader<'_>, index: u64, payload: &[u8], now: Instant) -> Option<Duration> {
        let (timestamp, marker) = (header.timestamp(), header.marker());
        let packet = Packet { timestamp, marker, arrived: now, payload: payload.to_vec() };
        self.reassembly.insert(index, packet);
        self.missing.arrived(index, now)
    }

    /// The pictures that are whole by now; see [`Reassembly::take`].
    pub(super) fn pictures(&mut self, now: Instant, patience: Duration) -> Vec<Assembled> {
        let whole = self.reassembly.take(now, patience);
        if let Some(next) = self.reassembly.next() {
            self.missing.forget_before(next);
        }
        whole
    }

    /// An RTP time without its rollovers undone; the first is in the second round, so that earlier ones may follow.
    pub(super) fn unwrap(&mut self, timestamp: u32) -> u64 {
        let first = || 1 << 32 | u64::from(timestamp);
        let nearest =
            |latest: u64| latest.saturating_add_signed(i64::from(timestamp.wrapping_sub(latest as u32) as i32));
        let unwrapped = self.latest_timestamp.map_or_else(first, nearest);
        self.latest_timestamp = Some(unwrapped);
        unwrapped
    }

    /// A keyframe is wanted, or has come.
    pub(super) fn want_keyframe(&mut self, wanted: bool) {
        self.keyframe_wanted = wanted;
    }

    /// The source to ask for a keyframe now, if one is wanted; it counts as asked.
    pub(super) fn keyframe_due(&mut self, now: Instant) -> Option<u32> {
        let asked = self.keyframe_asked.filter(|_| self.keyframe_wanted);
        let recently = asked.is_some_and(|asked| now.saturating_duration_since(asked) < KEYFRAME_INTERVAL);
        let ssrc = self.ssrc().filter(|_| self.keyframe_wanted && !recently)?;
        self.keyframe_wanted = false;
        self.keyframe_asked = Some(now);
        Some(ssrc)
    }

    /// What became of its packets.
    pub(super) fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        let sender_report = self.sender_report;
        self.reception.as_mut().map(|reception| reception.block(sender_report, now))
    }
}
