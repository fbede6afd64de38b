//! A publisher's client: pictures cut into packets of one or several layers, sent again when asked for.

use std::collections::HashMap;
use std::time::Duration;

use farstage_fanout::events::Event;
use farstage_fanout::publisher::Picture;
use farstage_rtp::header::{Extension, HeaderFields};
use farstage_rtp::packetize::{Codec, Payloads, packetize};
use farstage_rtp::rtcp::{PacketStatus, ReportBlock, Rtcp, SenderInfo, read_compound, write_sdes, write_sender_report};

use super::offering::{REPAIRED_RID_ID, RID_ID, TRANSPORT_CC_ID, VP8, VP8_RTX};
use super::world::{PICTURE_INTERVAL, World, noise};
use super::{Client, Offering};

const MAX_PAYLOAD: usize = 1_100;
const TICKS_PER_PICTURE: u32 = 3_000;

/// The SSRC of a layer's pictures; its repeats have the one that follows.
pub fn ssrc(layer: usize) -> u32 {
    0x5EED_0000 + 2 * layer as u32
}

/// What a publisher offers.
pub fn offering(rids: &'static [&'static str]) -> Offering {
    Offering { publishes: Some(rids), ..Offering::default() }
}

#[derive(Clone, Debug)]
struct Sent {
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
}

/// See the module.
pub struct Camera {
    /// The publisher among the world's clients.
    pub client: usize,
    rids: &'static [&'static str],
    /// SSRC of each layer, and the RTP time of its first picture.
    pub ssrcs: Vec<u32>,
    starts: Vec<u32>,
    next: Vec<u64>,
    rtx_next: Vec<u64>,
    sent: HashMap<(usize, u16), Sent>,
    pictures: u32,
    transport: u16,
    /// Whether packets carry their encoding's name.
    pub names: bool,
    /// Packets that were asked for, in order, repeats included.
    pub asked: Vec<(usize, u16)>,
    seen_reports: usize,
}

impl Camera {
    /// A publisher that is connected. Layers begin at different numbers and RTP times, just before these wrap.
    pub fn join(world: &mut World, offering: Offering) -> Self {
        let rids = offering.publishes.expect("a publisher");
        let layers = rids.len().max(1);
        let client = world.admit_publisher(offering);
        world.connect(client);
        Self {
            client,
            rids,
            ssrcs: (0..layers).map(ssrc).collect(),
            starts: (0..layers as u32).map(|layer| u32::MAX - 30_000 - 777_777 * layer).collect(),
            next: (0..layers as u64).map(|layer| 65_500 - 100 * layer).collect(),
            rtx_next: vec![1; layers],
            sent: HashMap::new(),
            pictures: 0,
            transport: 65_000,
            names: true,
            asked: Vec::new(),
            seen_reports: 0,
        }
    }

    /// A layer's encoder is set up anew: another source, whose numbers and times begin elsewhere.
    pub fn set_up_anew(&mut self, layer: usize) {
        self.ssrcs[layer] = 0xABCD_0001;
        self.next[layer] = 20_000;
        self.starts[layer] = self.starts[layer].wrapping_add(270_000);
    }

    /// The number of the next packet of a layer.
    pub fn next(&self, layer: usize) -> u64 {
        self.next[layer]
    }

    /// Takes a picture of this many bytes in all layers. Returns its bytes and its packets, to be sent in any order.
    pub fn picture(&mut self, bytes: usize, keyframe: bool) -> (Vec<u8>, Vec<(usize, u64)>) {
        let mut picture = noise(u64::from(self.pictures), bytes);
        // The first bit of a VP8 frame says whether others are needed to decode it (RFC 6386, section 9.1).
        picture[0] = picture[0] & 0xFE | u8::from(!keyframe);
        let mut payloads = Payloads::new();
        packetize(Codec::Vp8, &picture, MAX_PAYLOAD, self.pictures as u16, &mut payloads).expect("a picture");
        let mut packets = Vec::new();
        for layer in 0..self.ssrcs.len() {
            let timestamp = self.timestamp(layer, self.pictures);
            for (at, payload) in payloads.iter().enumerate() {
                let marker = at + 1 == payloads.len();
                let sent = Sent { timestamp, marker, payload: payload.to_vec() };
                self.sent.insert((layer, self.next[layer] as u16), sent);
                packets.push((layer, self.next[layer]));
                self.next[layer] += 1;
            }
        }
        self.pictures += 1;
        (picture, packets)
    }

    fn timestamp(&self, layer: usize, picture: u32) -> u32 {
        self.starts[layer].wrapping_add(picture * TICKS_PER_PICTURE)
    }

    /// Sends one packet of a picture that was taken.
    pub fn send(&mut self, world: &mut World, (layer, sequence): (usize, u64)) {
        let sent = self.sent[&(layer, sequence as u16)].clone();
        let fields = self.fields(&sent, VP8, self.ssrcs[layer]);
        self.dispatch(&mut world.viewers[self.client], fields, sequence, (RID_ID, layer), &sent.payload);
        world.settle();
    }

    /// Sends a packet again: under the repeats' SSRC if it was agreed on, else as it was.
    pub fn repeat(&mut self, world: &mut World, layer: usize, number: u16) {
        let sent = self.sent[&(layer, number)].clone();
        if !world.viewers[self.client].offering.rtx {
            let behind = (self.next[layer] as u16).wrapping_sub(number);
            return self.send(world, (layer, self.next[layer] - u64::from(behind)));
        }
        let fields = self.fields(&sent, VP8_RTX, self.ssrcs[layer] + 1);
        let payload = [&number.to_be_bytes(), &sent.payload[..]].concat();
        let sequence = self.rtx_next[layer];
        self.rtx_next[layer] += 1;
        self.dispatch(&mut world.viewers[self.client], fields, sequence, (REPAIRED_RID_ID, layer), &payload);
        world.settle();
    }

    fn fields(&self, sent: &Sent, payload_type: u8, ssrc: u32) -> HeaderFields {
        HeaderFields { marker: sent.marker, payload_type, sequence: 0, timestamp: sent.timestamp, ssrc }
    }

    fn dispatch(
        &mut self,
        client: &mut Client,
        fields: HeaderFields,
        sequence: u64,
        (id, layer): (u8, usize),
        payload: &[u8],
    ) {
        let transport = self.transport.to_be_bytes();
        self.transport = self.transport.wrapping_add(1);
        let mut extensions = vec![Extension { id: TRANSPORT_CC_ID, value: &transport }];
        if let Some(rid) = self.rids.get(layer).filter(|_| self.names) {
            extensions.push(Extension { id, value: rid.as_bytes() });
        }
        client.rtp(fields, sequence, &extensions, payload);
    }

    /// A transport-wide number is used up by a packet that does not arrive.
    pub fn lose(&mut self) {
        self.transport = self.transport.wrapping_add(1);
    }

    /// Plays pictures at thirty a second of which `arrives` tells by number which packets come, and sends again what is
    /// asked for, which does come. Returns the pictures' bytes.
    pub fn play(
        &mut self,
        world: &mut World,
        count: usize,
        bytes: usize,
        mut arrives: impl FnMut(usize, u64) -> bool,
    ) -> Vec<Vec<u8>> {
        (0..count)
            .map(|at| {
                let (picture, packets) = self.picture(bytes, at == 0);
                for (layer, sequence) in packets {
                    if arrives(layer, sequence) {
                        self.send(world, (layer, sequence));
                    } else {
                        self.lose();
                    }
                }
                world.run(PICTURE_INTERVAL);
                for (layer, number) in self.take_asked(world) {
                    self.repeat(world, layer, number);
                }
                picture
            })
            .collect()
    }

    /// The packets that were asked for since the last call.
    pub fn take_asked(&mut self, world: &World) -> Vec<(usize, u16)> {
        let reports = &world.viewers[self.client].reports[self.seen_reports..];
        self.seen_reports += reports.len();
        let mut asked = Vec::new();
        for packet in reports.iter().flat_map(|report| read_compound(report)) {
            if let Ok(Rtcp::Nack(nack)) = packet {
                let layer = self.ssrcs.iter().position(|ssrc| *ssrc == nack.media_ssrc).expect("a known SSRC");
                asked.extend(nack.sequences().map(|number| (layer, number)));
            }
        }
        self.asked.extend(&asked);
        asked
    }

    /// Reports a layer's picture as captured when the world began and `after`, by the publisher's wall clock.
    pub fn report(&self, world: &mut World, layer: usize, picture: u32, after: Duration) {
        let info = SenderInfo {
            ssrc: self.ssrcs[layer],
            ntp: world.clock.ntp(world.start + after),
            rtp_timestamp: self.timestamp(layer, picture),
            packet_count: 1,
            octet_count: 1,
        };
        let mut out = Vec::new();
        write_sender_report(&mut out, &info, &[]);
        write_sdes(&mut out, self.ssrcs[layer], b"publisher");
        world.viewers[self.client].rtcp(out);
        world.settle();
    }

    /// The pictures of a layer that the edge told of.
    pub fn told<'a>(&self, world: &'a World, layer: usize) -> Vec<&'a Picture> {
        let session = world.viewers[self.client].session;
        let of_layer = |event: &'a Event| match event {
            Event::Picture(from, picture) if *from == session && picture.layer == layer => Some(picture),
            _ => None,
        };
        world.events.iter().filter_map(of_layer).collect()
    }

    /// SSRCs of which a keyframe was asked for, oldest first.
    pub fn keyframes_asked(&self, world: &World) -> Vec<u32> {
        let asked = |packet| match packet {
            Ok(Rtcp::Pli(pli)) => Some(pli.media_ssrc),
            _ => None,
        };
        world.viewers[self.client].reports.iter().flat_map(|report| read_compound(report)).filter_map(asked).collect()
    }

    /// What became of each packet by its transport-wide number, as the edge reported it, oldest first.
    pub fn arrivals(&self, world: &World) -> Vec<PacketStatus> {
        let statuses = |packet| match packet {
            Ok(Rtcp::TransportFeedback(feedback)) => feedback.packets().collect(),
            _ => Vec::new(),
        };
        world.viewers[self.client].reports.iter().flat_map(|report| read_compound(report)).flat_map(statuses).collect()
    }

    /// The reports on a layer's packets, oldest first.
    pub fn blocks(&self, world: &World, layer: usize) -> Vec<ReportBlock> {
        let blocks = world.viewers[self.client].voice_reports();
        blocks.into_iter().filter(|block| block.ssrc == self.ssrcs[layer]).collect()
    }
}
