//! A browser's side of data channels: it opens the SCTP association and every channel (RFC 8831, RFC 8832).
//!
//! Sans-IO like the side that is tested: packets and time go in, packets and what the other side did come out.
//! `fanout/tests` uses it too.

#![allow(dead_code, reason = "each test file uses a part")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier, ReliabilityType, StreamEvent, TransportConfig,
};

/// sctp-proto routes by address; one peer needs none.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 5_000);
const DCEP_ACK: u8 = 0x02;

/// How a channel delivers (RFC 8832, section 5.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivery {
    /// Messages may overtake each other.
    pub unordered: bool,
    /// Give up after this many repeats.
    pub repeats: Option<u32>,
}

/// See the module.
pub struct ChannelPeer {
    endpoint: Endpoint,
    handle: AssociationHandle,
    association: Association,
    /// Streams whose channel was confirmed.
    pub acknowledged: Vec<u16>,
    /// Messages that came, with their stream, protocol and bytes.
    pub messages: Vec<(u16, PayloadProtocolIdentifier, Vec<u8>)>,
    /// Streams that the other side ended.
    pub finished: Vec<u16>,
    /// Whether the association is established.
    pub established: bool,
    /// Whether the association is over.
    pub lost: bool,
    /// Leaves messages where they are, as a peer that does not read.
    pub reads: bool,
    streams: Vec<u16>,
}

impl ChannelPeer {
    /// Begins an association; its first packet is in [`Self::transmit`].
    pub fn new() -> Self {
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None);
        let transport = TransportConfig::default()
            .with_max_send_message_size(1 << 20)
            .with_max_receive_message_size(1 << 20)
            .with_max_receive_buffer_size(1 << 20);
        let mut config = ClientConfig::new();
        config.transport = Arc::new(transport);
        let (handle, association) = endpoint.connect(config, PEER).expect("a first association is taken");
        Self {
            endpoint,
            handle,
            association,
            acknowledged: Vec::new(),
            messages: Vec::new(),
            finished: Vec::new(),
            established: false,
            lost: false,
            reads: true,
            streams: Vec::new(),
        }
    }

    /// Opens a channel of this label on a stream.
    pub fn open(&mut self, id: u16, label: &str, delivery: Delivery) {
        self.association.open_stream(id, PayloadProtocolIdentifier::Binary).expect("a new stream");
        self.streams.push(id);
        self.send(id, PayloadProtocolIdentifier::Dcep, &dcep_open(label, delivery));
        let kind = if delivery.repeats.is_some() { ReliabilityType::Rexmit } else { ReliabilityType::Reliable };
        let mut stream = self.association.stream(id).expect("an open stream");
        stream.set_reliability_params(delivery.unordered, kind, delivery.repeats.unwrap_or(0)).expect("an open stream");
    }

    /// Sends on a stream, whatever the other side thinks of it.
    pub fn send(&mut self, id: u16, protocol: PayloadProtocolIdentifier, data: &[u8]) {
        if self.association.stream(id).is_err() {
            self.association.open_stream(id, PayloadProtocolIdentifier::Binary).expect("a new stream");
            self.streams.push(id);
        }
        self.association.stream(id).expect("an open stream").write_with_ppi(data, protocol).expect("an open stream");
    }

    /// Sends text on a stream.
    pub fn send_text(&mut self, id: u16, text: &str) {
        self.send(id, PayloadProtocolIdentifier::String, text.as_bytes());
    }

    /// Closes a channel.
    pub fn close(&mut self, id: u16) {
        self.association.stream(id).expect("an open stream").close().expect("an open stream");
    }

    /// A packet came in.
    pub fn handle(&mut self, packet: &[u8], now: Instant) {
        if let Some((_, DatagramEvent::AssociationEvent(event))) =
            self.endpoint.handle(now, PEER, None, None, Bytes::copy_from_slice(packet))
        {
            self.association.handle_event(event);
        }
        self.drain();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_some_and(|at| at <= now) {
            self.association.handle_timeout(now);
            self.drain();
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.association.poll_timeout()
    }

    /// Packets to send now.
    pub fn transmit(&mut self, now: Instant) -> Vec<Bytes> {
        let mut packets = Vec::new();
        while let Some(transmit) = self.association.poll_transmit(now) {
            if let Payload::RawEncode(more) = transmit.payload {
                packets.extend(more);
            }
        }
        packets
    }

    /// The text messages that came on a stream.
    pub fn texts(&self, id: u16) -> Vec<String> {
        let own = self.messages.iter().filter(|(stream, ..)| *stream == id);
        own.map(|(.., data)| String::from_utf8_lossy(data).into_owned()).collect()
    }

    fn drain(&mut self) {
        while let Some(event) = self.association.poll_endpoint_event() {
            if let Some(back) = self.endpoint.handle_event(self.handle, event) {
                self.association.handle_event(back);
            }
        }
        while let Some(event) = self.association.poll() {
            match event {
                Event::Connected => self.established = true,
                Event::AssociationLost { .. } | Event::HandshakeFailed { .. } => self.lost = true,
                Event::Stream(StreamEvent::Finished { id } | StreamEvent::Stopped { id, .. }) => self.finished.push(id),
                _ => {}
            }
        }
        if self.reads {
            self.read();
        }
    }

    fn read(&mut self) {
        for id in self.streams.clone() {
            let Ok(mut stream) = self.association.stream(id) else { continue };
            while let Ok(Some(chunks)) = stream.read_sctp() {
                let mut data = vec![0; chunks.len()];
                chunks.read(&mut data).expect("room for the message");
                if chunks.ppi == PayloadProtocolIdentifier::Dcep && data == [DCEP_ACK] {
                    self.acknowledged.push(id);
                } else {
                    self.messages.push((id, chunks.ppi, data));
                }
            }
        }
    }
}

/// DATA_CHANNEL_OPEN (RFC 8832, section 5.1).
pub fn dcep_open(label: &str, delivery: Delivery) -> Vec<u8> {
    let kind = u8::from(delivery.repeats.is_some()) | if delivery.unordered { 0x80 } else { 0 };
    let mut message = vec![0x03, kind, 0, 0];
    message.extend_from_slice(&delivery.repeats.unwrap_or(0).to_be_bytes());
    message.extend_from_slice(&(label.len() as u16).to_be_bytes());
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(label.as_bytes());
    message
}
