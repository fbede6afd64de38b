//! Data channels of one peer: SCTP over DTLS (RFC 8831) with channels opened by the peer (DCEP, RFC 8832).
//!
//! Sans-IO: decrypted DTLS records go in, records to encrypt and what the peer said come out. Everything a peer can
//! make grow has a bound: channels by number, messages by size, data that waits for a peer that does not read.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, DatagramEvent, Endpoint, EndpointConfig, Event, Payload, PayloadProtocolIdentifier,
    ReliabilityType, ServerConfig, StreamEvent, Transmit, TransportConfig,
};

/// Channels one peer may have open; a further one is closed at once.
pub const MAX_CHANNELS: usize = 8;
/// Largest message taken from a peer, and what the SDP answer announces (RFC 8841).
pub const MAX_MESSAGE_BYTES: u32 = 64 * 1024;
/// Data waiting for a peer that does not read; further messages to it are dropped.
pub const MAX_BUFFERED_BYTES: usize = 256 * 1024;
/// A peer that has so many more refused ends: each would keep a stream, and each packet costs a look at all streams.
const MAX_REFUSED_CHANNELS: u64 = 64;
const MAX_LABEL_BYTES: usize = 256;
const RECEIVE_BUFFER_BYTES: u32 = 256 * 1024;
/// SCTP payload of a packet. Beside the headers of SCTP and DTLS the datagram fits any path of 1,280 bytes also where
/// sctp-proto bundles many small messages, whose padding and last header it does not count.
const MAX_PAYLOAD_BYTES: u32 = 960;
/// sctp-proto's own acknowledgement timers work in steps of this order; a wait this short costs nothing.
const RTO_MIN_MS: u64 = 200;
/// Chunk types by which a peer ends its association: ABORT, SHUTDOWN and what follows it (RFC 9260, section 3.2).
const FAREWELLS: [u8; 4] = [6, 7, 8, 14];
const CHUNK_TYPE_AT: usize = 12;
const DCEP_OPEN: u8 = 0x03;
const DCEP_ACK: u8 = 0x02;
const UNORDERED: u8 = 0x80;

/// What comes out of [`Channels`].
#[derive(Debug, PartialEq, Eq)]
pub enum ChannelEvent {
    /// An SCTP packet to send as DTLS application data.
    Transmit(Bytes),
    /// The peer opened a channel of this label; one of the same label that was open before is replaced.
    Opened(String),
    /// A message on the channel of this label.
    Message(String, Vec<u8>),
    /// The association is over.
    Lost,
}

#[derive(Debug)]
struct Channel {
    id: u16,
    label: Option<String>,
}

/// The data channels of one peer, which opens the association and every channel.
pub struct Channels {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    channels: Vec<Channel>,
    refused: u64,
    refused_channels: u64,
}

impl Channels {
    /// Waits for the peer's association.
    pub fn new() -> Self {
        let mut config = EndpointConfig::default();
        config.max_payload_size(MAX_PAYLOAD_BYTES);
        let transport = TransportConfig::default()
            .with_max_receive_buffer_size(RECEIVE_BUFFER_BYTES)
            .with_max_receive_message_size(MAX_MESSAGE_BYTES)
            .with_max_send_message_size(MAX_MESSAGE_BYTES)
            .with_rto_initial_ms(RTO_MIN_MS)
            .with_rto_min_ms(RTO_MIN_MS)
            .with_rto_max_ms(5_000);
        let mut server = ServerConfig::default();
        server.transport = Arc::new(transport);
        let endpoint = Endpoint::new(Arc::new(config), Some(Arc::new(server)));
        Self { endpoint, association: None, channels: Vec::new(), refused: 0, refused_channels: 0 }
    }

    /// Channels and messages refused for a limit, and associations that ended because the peer broke one.
    pub fn refused(&self) -> u64 {
        self.refused + self.refused_channels
    }

    /// An SCTP packet came in.
    pub fn handle(&mut self, packet: &[u8], now: Instant, events: &mut Vec<ChannelEvent>) {
        let data = Bytes::copy_from_slice(packet);
        let had_association = self.association.is_some();
        match self.endpoint.handle(now, PEER, None, None, data) {
            Some((handle, DatagramEvent::NewAssociation(association))) if self.association.is_none() => {
                self.association = Some((handle, association));
                self.endpoint.reject_new_associations();
            }
            Some((_, DatagramEvent::AssociationEvent(event))) => {
                if let Some((_, association)) = &mut self.association {
                    association.handle_event(event);
                }
            }
            _ => {}
        }
        self.drain(now, events);
        let said_farewell = packet.get(CHUNK_TYPE_AT).is_some_and(|kind| FAREWELLS.contains(kind));
        self.refused += u64::from(had_association && self.association.is_none() && !said_farewell);
    }

    /// Time has passed; call at [`Self::next_timeout`] or later.
    pub fn handle_timeout(&mut self, now: Instant, events: &mut Vec<ChannelEvent>) {
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
        self.drain(now, events);
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.association.as_ref().and_then(|(_, association)| association.poll_timeout())
    }

    /// Send text on the channel of this label. Returns whether it was taken: not without such a channel, nor to a
    /// peer that has let [`MAX_BUFFERED_BYTES`] pile up.
    pub fn send_text(&mut self, label: &str, text: &[u8], now: Instant, events: &mut Vec<ChannelEvent>) -> bool {
        let Some(id) = self.channels.iter().find(|c| c.label.as_deref() == Some(label)).map(|c| c.id) else {
            return false;
        };
        let Some((_, association)) = &mut self.association else { return false };
        let Ok(mut stream) = association.stream(id) else { return false };
        if stream.buffered_amount().unwrap_or(usize::MAX) + text.len() > MAX_BUFFERED_BYTES {
            self.refused += 1;
            return false;
        }
        let taken = if text.is_empty() {
            stream.write_with_ppi(&[0], PayloadProtocolIdentifier::StringEmpty)
        } else {
            stream.write_with_ppi(text, PayloadProtocolIdentifier::String)
        };
        self.drain(now, events);
        taken.is_ok()
    }

    fn drain(&mut self, now: Instant, events: &mut Vec<ChannelEvent>) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            push_packets(transmit, events);
        }
        let Some((handle, association)) = &mut self.association else { return };
        while let Some(event) = association.poll_endpoint_event() {
            if let Some(back) = self.endpoint.handle_event(*handle, event) {
                association.handle_event(back);
            }
        }
        let mut readable = false;
        let mut lost = false;
        while let Some(event) = association.poll() {
            match event {
                Event::AssociationLost { .. } | Event::HandshakeFailed { .. } => lost = true,
                Event::Stream(StreamEvent::Readable { .. }) => readable = true,
                Event::Stream(StreamEvent::Opened { id }) => {
                    readable = true;
                    note_channel(&mut self.channels, association, id, &mut self.refused_channels);
                }
                Event::Stream(StreamEvent::Finished { id } | StreamEvent::Stopped { id, .. }) => {
                    self.channels.retain(|channel| channel.id != id);
                }
                _ => {}
            }
        }
        if readable {
            self.read_all(events);
        }
        self.transmit(now, events);
        if lost || self.refused_channels > MAX_REFUSED_CHANNELS {
            self.association = None;
            self.channels.clear();
            events.push(ChannelEvent::Lost);
        }
    }

    fn transmit(&mut self, now: Instant, events: &mut Vec<ChannelEvent>) {
        let Some((_, association)) = &mut self.association else { return };
        while let Some(transmit) = association.poll_transmit(now) {
            push_packets(transmit, events);
        }
    }

    fn read_all(&mut self, events: &mut Vec<ChannelEvent>) {
        let ids: Vec<u16> = self.channels.iter().map(|channel| channel.id).collect();
        for id in ids {
            while let Some((ppi, data)) = self.read(id) {
                if ppi == PayloadProtocolIdentifier::Dcep {
                    self.take_control(id, &data, events);
                } else if let Some(channel) = self.channels.iter().find(|channel| channel.id == id) {
                    let empty =
                        matches!(ppi, PayloadProtocolIdentifier::StringEmpty | PayloadProtocolIdentifier::BinaryEmpty);
                    let data = if empty { Vec::new() } else { data };
                    if let Some(label) = &channel.label {
                        events.push(ChannelEvent::Message(label.clone(), data));
                    }
                }
            }
        }
    }

    fn read(&mut self, id: u16) -> Option<(PayloadProtocolIdentifier, Vec<u8>)> {
        let (_, association) = self.association.as_mut()?;
        let chunks = association.stream(id).ok()?.read_sctp().ok()??;
        let mut data = vec![0; chunks.len()];
        chunks.read(&mut data).ok()?;
        Some((chunks.ppi, data))
    }

    fn take_control(&mut self, id: u16, message: &[u8], events: &mut Vec<ChannelEvent>) {
        let Some(open) = DcepOpen::parse(message) else { return };
        let Some((_, association)) = &mut self.association else { return };
        let Ok(mut stream) = association.stream(id) else { return };
        let reliability = ReliabilityType::from(open.reliability);
        let usable = stream.set_reliability_params(open.unordered, reliability, open.parameter).is_ok()
            && stream.write_with_ppi(&[DCEP_ACK], PayloadProtocolIdentifier::Dcep).is_ok();
        if !usable {
            return;
        }
        self.close_former(&open.label, id);
        if let Some(channel) = self.channels.iter_mut().find(|channel| channel.id == id) {
            channel.label = Some(open.label.clone());
            events.push(ChannelEvent::Opened(open.label));
        }
    }

    fn close_former(&mut self, label: &str, but: u16) {
        let Some((_, association)) = &mut self.association else { return };
        self.channels.retain(|channel| {
            let former = channel.id != but && channel.label.as_deref() == Some(label);
            if former && let Ok(mut stream) = association.stream(channel.id) {
                let _ = stream.close();
            }
            !former
        });
    }
}

impl Default for Channels {
    fn default() -> Self {
        Self::new()
    }
}

/// sctp-proto routes by address; the one peer of a DTLS connection needs none.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5_000);

fn note_channel(channels: &mut Vec<Channel>, association: &mut Association, id: u16, refused: &mut u64) {
    if channels.iter().any(|channel| channel.id == id) {
        return;
    }
    if channels.len() < MAX_CHANNELS {
        channels.push(Channel { id, label: None });
        return;
    }
    *refused += 1;
    if let Ok(mut stream) = association.stream(id) {
        let _ = stream.close();
    }
}

fn push_packets(transmit: Transmit, events: &mut Vec<ChannelEvent>) {
    if let Payload::RawEncode(packets) = transmit.payload {
        events.extend(packets.into_iter().map(ChannelEvent::Transmit));
    }
}

/// DATA_CHANNEL_OPEN (RFC 8832, section 5.1).
struct DcepOpen {
    unordered: bool,
    reliability: u8,
    parameter: u32,
    label: String,
}

impl DcepOpen {
    fn parse(message: &[u8]) -> Option<Self> {
        let (head, rest) = message.split_at_checked(12)?;
        if head[0] != DCEP_OPEN {
            return None;
        }
        let label_bytes = usize::from(u16::from_be_bytes([head[8], head[9]]));
        if label_bytes > MAX_LABEL_BYTES {
            return None;
        }
        let label = std::str::from_utf8(rest.get(..label_bytes)?).ok()?.to_owned();
        Some(Self {
            unordered: head[1] & UNORDERED != 0,
            reliability: head[1] & !UNORDERED,
            parameter: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            label,
        })
    }
}
