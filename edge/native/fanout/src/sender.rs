//! What one viewer is sent of a stream: the viewer's own headers and keys around payloads that all viewers share.
//!
//! The hot path is [`VideoSender::send_run`]: per packet a header template with five fields written over, one copy of
//! the payload and one encryption, into the buffer that goes to the kernel. Nothing is allocated.

use std::time::Instant;

use farstage_rtp::header::{Extension, FIXED_HEADER_LEN, HeaderFields, header_len, write_header};
use farstage_rtp::srtp::SrtpSender;

use crate::layered::LayeredStream;
use crate::outlet::{Outlet, Path, Taken};
use crate::sdp::{Ssrcs, VideoAgreement};
use crate::stream::{PacketizedFrame, Run};

const MAX_HEADER_BYTES: usize = FIXED_HEADER_LEN + 4 + 20;
/// Runs remembered for repeats: more than two seconds at 60 pictures a second.
const REMEMBERED_RUNS: usize = 128;
const SEQUENCE_AT: usize = 2;
const TIMESTAMP_AT: usize = 4;
const MARKER: u8 = 0x80;
/// Of a repeat: the original sequence number (RFC 4588, section 4).
const OSN_BYTES: usize = 2;

/// A header of one SSRC with its changing fields left blank.
#[derive(Debug, Clone)]
struct Template {
    bytes: [u8; MAX_HEADER_BYTES],
    len: usize,
    transport_at: Option<usize>,
    send_time_at: Option<usize>,
    capture_at: Option<usize>,
}

impl Template {
    fn new(payload_type: u8, ssrc: u32, agreement: &VideoAgreement, playout_delay: [u8; 3]) -> Self {
        let mut extensions: Vec<Extension<'_>> = Vec::with_capacity(4);
        let mut offset = FIXED_HEADER_LEN + 4;
        let mut add = |id: Option<u8>, value: &'static [u8]| {
            let id = id?;
            extensions.push(Extension { id, value });
            let at = offset + 1;
            offset = at + value.len();
            Some(at)
        };
        let transport_at = add(agreement.transport_cc, &[0; 2]);
        let send_time_at = add(agreement.send_time, &[0; 3]);
        let capture_at = add(agreement.capture_time, &[0; 8]);
        let delay_at = add(agreement.playout_delay, &[0; 3]);
        let mut bytes = [0; MAX_HEADER_BYTES];
        let fields = HeaderFields { marker: false, payload_type, sequence: 0, timestamp: 0, ssrc };
        let len = write_header(&mut bytes, &fields, &extensions).unwrap_or(FIXED_HEADER_LEN);
        debug_assert_eq!(len, header_len(&extensions));
        if let Some(slot) = delay_at.and_then(|at| bytes.get_mut(at..at + 3)) {
            slot.copy_from_slice(&playout_delay);
        }
        Self { bytes, len, transport_at, send_time_at, capture_at }
    }

    #[inline]
    fn write(&self, out: &mut [u8], stamp: &Stamp) {
        out[..self.len].copy_from_slice(&self.bytes[..self.len]);
        out[1] |= if stamp.marker { MARKER } else { 0 };
        out[SEQUENCE_AT..SEQUENCE_AT + 2].copy_from_slice(&stamp.sequence.to_be_bytes());
        out[TIMESTAMP_AT..TIMESTAMP_AT + 4].copy_from_slice(&stamp.timestamp.to_be_bytes());
        if let Some(at) = self.transport_at {
            out[at..at + 2].copy_from_slice(&stamp.transport.to_be_bytes());
        }
        if let Some(at) = self.send_time_at {
            out[at..at + 3].copy_from_slice(&stamp.send_time.to_be_bytes()[1..]);
        }
        if let Some(at) = self.capture_at {
            out[at..at + 8].copy_from_slice(&stamp.capture_ntp.to_be_bytes());
        }
    }
}

/// The fields of one packet's header.
struct Stamp {
    marker: bool,
    sequence: u16,
    timestamp: u32,
    transport: u16,
    send_time: u32,
    capture_ntp: u64,
}

/// When a picture was captured and when it is sent, NTP timestamps.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Captured, or arrived at the edge.
    pub capture_ntp: u64,
    /// Now.
    pub send_ntp: u64,
}

impl Times {
    /// Seconds in 6.18 bits, as the abs-send-time extension has them.
    fn send_time(self) -> u32 {
        (self.send_ntp >> 14) as u32 & 0x00FF_FFFF
    }
}

/// Packets sent together, for repeats.
#[derive(Debug, Clone, Copy, Default)]
struct SentRun {
    sequence: u64,
    frame: u64,
    first_packet: u16,
    count: u16,
    transport: u16,
    layer: u8,
    send_time: u32,
}

/// What a run sent tells congestion control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Transport-wide number of its first packet.
    pub transport: u16,
    /// Number of packets.
    pub packets: u16,
    /// Bytes of each as sent, the last may have fewer.
    pub packet_bytes: u32,
    /// Bytes of all.
    pub bytes: u32,
}

/// The pictures of one viewer: SSRC, numbering and what was sent under which number.
#[derive(Debug)]
pub struct VideoSender {
    template: Template,
    rtx: Option<(Template, u64)>,
    sequence: u64,
    transport: u16,
    sent: Box<[SentRun; REMEMBERED_RUNS]>,
    next_run: usize,
    /// Number of the first packet of the newest keyframe.
    keyframe: u64,
    /// Packets sent, repeats excluded.
    pub packets: u64,
    /// Payload bytes sent, repeats excluded (RFC 3550, section 6.4.1).
    pub octets: u64,
}

impl VideoSender {
    /// `first_sequence` is random, below 32,768. `playout_delay` is the extension's value: 12 bits each of least and
    /// most delay in units of 10 ms.
    pub fn new(ssrcs: Ssrcs, agreement: &VideoAgreement, playout_delay: [u8; 3], first_sequence: u16) -> Self {
        let rtx = agreement.rtx_payload.map(|payload| {
            let template = Template::new(payload, ssrcs.rtx, agreement, playout_delay);
            (template, u64::from(first_sequence ^ 0x2AAA))
        });
        Self {
            template: Template::new(agreement.payload, ssrcs.video, agreement, playout_delay),
            rtx,
            sequence: u64::from(first_sequence),
            transport: 0,
            sent: Box::new([SentRun::default(); REMEMBERED_RUNS]),
            next_run: 0,
            keyframe: 0,
            packets: 0,
            octets: 0,
        }
    }

    /// Whether decoding that starts at the newest keyframe needs this packet.
    pub fn is_since_keyframe(&self, sequence: u16) -> bool {
        self.extended(sequence).is_some_and(|full| full >= self.keyframe)
    }

    /// Send one run of a picture. Returns `None` if there was no room, and then nothing has changed.
    pub fn send_run(
        &mut self,
        srtp: &SrtpSender,
        (number, frame): (u64, &PacketizedFrame),
        run: Run,
        times: Times,
        (path, out): (Path, &mut impl Outlet),
    ) -> Option<Sent> {
        let tag = srtp.profile().rtp_tag_len();
        let header = self.template.len;
        let first = usize::from(run.first);
        let count = usize::from(run.count);
        let segment = header + frame.payload(first).len() + tag;
        let bytes = (count - 1) * segment + header + frame.payload(first + count - 1).len() + tag;
        let last_of_frame = frame.packets() - 1;
        let (template, sequence, transport) = (&self.template, self.sequence, self.transport);
        let taken = out.run(path, bytes, segment, |buffer| {
            for (index, packet) in buffer.chunks_mut(segment).enumerate() {
                let number = sequence + index as u64;
                let stamp = Stamp {
                    marker: first + index == last_of_frame,
                    sequence: number as u16,
                    timestamp: frame.timestamp,
                    transport: transport.wrapping_add(index as u16),
                    send_time: times.send_time(),
                    capture_ntp: times.capture_ntp,
                };
                template.write(packet, &stamp);
                let payload = frame.payload(first + index);
                packet[header..header + payload.len()].copy_from_slice(payload);
                let protected = srtp.protect_rtp((number >> 16) as u32, packet, header);
                debug_assert!(protected.is_ok(), "the buffer has room for header and tag");
            }
        });
        if taken == Taken::NoRoom {
            return None;
        }
        if frame.keyframe && run.first == 0 {
            self.keyframe = self.sequence;
        }
        self.remember((number, frame.layer), run, times);
        let payload_bytes = bytes - count * (header + tag);
        self.octets += payload_bytes as u64;
        Some(Sent { transport, packets: run.count, packet_bytes: segment as u32, bytes: bytes as u32 })
    }

    fn remember(&mut self, (frame, layer): (u64, u8), run: Run, times: Times) {
        self.sent[self.next_run] = SentRun {
            sequence: self.sequence,
            frame,
            first_packet: run.first,
            count: run.count,
            transport: self.transport,
            layer,
            send_time: times.send_time(),
        };
        self.next_run = (self.next_run + 1) % REMEMBERED_RUNS;
        self.sequence += u64::from(run.count);
        self.transport = self.transport.wrapping_add(run.count);
        self.packets += u64::from(run.count);
    }

    /// Whether a packet is still known.
    pub fn can_repeat(&self, sequence: u16, stream: &LayeredStream) -> bool {
        self.find(sequence, stream).is_some()
    }

    fn find<'a>(&self, sequence: u16, stream: &'a LayeredStream) -> Option<(u64, SentRun, &'a PacketizedFrame)> {
        let full = self.extended(sequence)?;
        let run = self.sent.iter().find(|run| (run.sequence..run.sequence + u64::from(run.count)).contains(&full))?;
        Some((full, *run, stream.layer(run.layer).frame(run.frame)?))
    }

    /// Send a packet again, if it is still known. With RTX as a packet of the repeat stream, else the very same bytes:
    /// a nonce must never meet two different packets.
    pub fn repeat(
        &mut self,
        srtp: &SrtpSender,
        sequence: u16,
        stream: &LayeredStream,
        times: impl Fn(Instant) -> Times,
        (path, out): (Path, &mut impl Outlet),
    ) -> Option<Sent> {
        let (full, run, frame) = self.find(sequence, stream)?;
        let offset = full - run.sequence;
        let packet = usize::from(run.first_packet) + offset as usize;
        let payload = frame.payload(packet);
        let mut stamp = Stamp {
            marker: packet + 1 == frame.packets(),
            sequence,
            timestamp: frame.timestamp,
            transport: run.transport.wrapping_add(offset as u16),
            send_time: run.send_time,
            capture_ntp: times(frame.arrived).capture_ntp,
        };
        let tag = srtp.profile().rtp_tag_len();
        let Some((template, rtx_sequence)) = &mut self.rtx else {
            let header = self.template.len;
            let bytes = header + payload.len() + tag;
            let template = &self.template;
            let taken = out.run(path, bytes, bytes, |buffer| {
                template.write(buffer, &stamp);
                buffer[header..header + payload.len()].copy_from_slice(payload);
                let _ = srtp.protect_rtp((full >> 16) as u32, buffer, header);
            });
            return sent_one(taken, stamp.transport, bytes);
        };
        let header = template.len;
        let bytes = header + OSN_BYTES + payload.len() + tag;
        stamp.sequence = *rtx_sequence as u16;
        stamp.transport = self.transport;
        stamp.send_time = times(frame.arrived).send_time();
        let roc = (*rtx_sequence >> 16) as u32;
        let taken = out.run(path, bytes, bytes, |buffer| {
            template.write(buffer, &stamp);
            buffer[header..header + OSN_BYTES].copy_from_slice(&sequence.to_be_bytes());
            buffer[header + OSN_BYTES..header + OSN_BYTES + payload.len()].copy_from_slice(payload);
            let _ = srtp.protect_rtp(roc, buffer, header);
        });
        if taken == Taken::Yes {
            *rtx_sequence += 1;
            self.transport = self.transport.wrapping_add(1);
        }
        sent_one(taken, stamp.transport, bytes)
    }

    /// Numbers of the packets sent last, newest first; none without a repeat stream, where a copy would tell nothing.
    pub fn recent(&self, most: u16) -> impl Iterator<Item = u16> + use<> {
        let newest = self.sequence as u16;
        let count = if self.rtx.is_some() { self.packets.min(u64::from(most)) as u16 } else { 0 };
        (1..=count).map(move |back| newest.wrapping_sub(back))
    }

    /// The newest sent sequence number that ends in these 16 bits.
    fn extended(&self, sequence: u16) -> Option<u64> {
        let newest = self.sequence.checked_sub(1)?;
        let behind = (newest as u16).wrapping_sub(sequence);
        newest.checked_sub(u64::from(behind))
    }
}

fn sent_one(taken: Taken, transport: u16, bytes: usize) -> Option<Sent> {
    let bytes = bytes as u32;
    (taken == Taken::Yes).then_some(Sent { transport, packets: 1, packet_bytes: bytes, bytes })
}

/// The sound of one viewer.
#[derive(Debug)]
pub struct AudioSender {
    payload: u8,
    ssrc: u32,
    sequence: u64,
    /// RTP time of the packet sent last, 48 kHz.
    pub timestamp: u32,
    /// Packets sent.
    pub packets: u64,
    /// Payload bytes sent.
    pub octets: u64,
}

impl AudioSender {
    /// `first_sequence` is random, below 32,768.
    pub fn new(payload: u8, ssrc: u32, first_sequence: u16) -> Self {
        Self { payload, ssrc, sequence: u64::from(first_sequence), timestamp: 0, packets: 0, octets: 0 }
    }

    /// The SSRC.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Send one Opus frame; without room it is lost, as sound does not wait.
    pub fn send(&mut self, srtp: &SrtpSender, timestamp: u32, opus_frame: &[u8], path: Path, out: &mut impl Outlet) {
        let fields = HeaderFields {
            marker: self.packets == 0,
            payload_type: self.payload,
            sequence: self.sequence as u16,
            timestamp,
            ssrc: self.ssrc,
        };
        let header = FIXED_HEADER_LEN;
        let bytes = header + opus_frame.len() + srtp.profile().rtp_tag_len();
        let roc = (self.sequence >> 16) as u32;
        let taken = out.run(path, bytes, bytes, |buffer| {
            let _ = write_header(buffer, &fields, &[]);
            buffer[header..header + opus_frame.len()].copy_from_slice(opus_frame);
            let _ = srtp.protect_rtp(roc, buffer, header);
        });
        if taken == Taken::Yes {
            self.sequence += 1;
            self.timestamp = timestamp;
            self.packets += 1;
            self.octets += opus_frame.len() as u64;
        }
    }
}
