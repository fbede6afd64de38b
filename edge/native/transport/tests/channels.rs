//! Data channels against an independent client of the same protocol: what is opened and said arrives, what goes beyond
//! a limit is refused and counted, and nothing a peer does panics.

mod support;

use std::time::{Duration, Instant};

use farstage_transport::channels::{ChannelEvent, Channels, MAX_BUFFERED_BYTES, MAX_CHANNELS, MAX_MESSAGE_BYTES};
use proptest::prelude::*;
use sctp_proto::PayloadProtocolIdentifier;
use support::{ChannelPeer, Delivery};

/// What a path of 1,280 bytes leaves beside the headers of IPv6, UDP and an encrypted DTLS record.
const ROOM: usize = 1_280 - 40 - 8 - 13 - 8 - 16;

/// Both sides over a link in memory, in virtual time.
struct Pair {
    server: Channels,
    client: ChannelPeer,
    now: Instant,
    events: Vec<ChannelEvent>,
    /// Packets on the way to the server and to the client.
    feed_server: Vec<Vec<u8>>,
    feed_client: Vec<Vec<u8>>,
}

impl Pair {
    fn new() -> Self {
        let (server, client) = (Channels::new(), ChannelPeer::new());
        let (feed_server, feed_client) = (Vec::new(), Vec::new());
        Self { server, client, now: Instant::now(), events: Vec::new(), feed_server, feed_client }
    }

    fn established() -> Self {
        let mut pair = Self::new();
        pair.settle();
        assert!(pair.client.established);
        pair
    }

    fn with_channel(label: &str) -> Self {
        let mut pair = Self::established();
        pair.client.open(0, label, Delivery::default());
        pair.settle();
        assert_eq!(pair.take_events(), [ChannelEvent::Opened(label.to_owned())]);
        pair
    }

    fn collect(&mut self, events: Vec<ChannelEvent>) {
        for event in events {
            match event {
                ChannelEvent::Transmit(packet) => {
                    assert!(packet.len() <= ROOM, "a packet of {} bytes", packet.len());
                    self.feed_client.push(packet.to_vec());
                }
                other => self.events.push(other),
            }
        }
    }

    /// Packets that the client sends now go on their way.
    fn flush_client(&mut self) {
        let packets = self.client.transmit(self.now);
        self.feed_server.extend(packets.iter().map(|packet| packet.to_vec()));
    }

    fn feed_server(&mut self, packet: &[u8]) {
        let mut events = Vec::new();
        self.server.handle(packet, self.now, &mut events);
        self.collect(events);
    }

    /// Carries packets both ways until none is left.
    fn settle(&mut self) {
        loop {
            self.flush_client();
            let (feed_server, feed_client) =
                (std::mem::take(&mut self.feed_server), std::mem::take(&mut self.feed_client));
            if feed_server.is_empty() && feed_client.is_empty() {
                return;
            }
            feed_server.iter().for_each(|packet| self.feed_server(packet));
            feed_client.iter().for_each(|packet| self.client.handle(packet, self.now));
        }
    }

    /// Lets time pass with the timers of both sides; packets are carried.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            let next = [self.server.next_timeout(), self.client.next_timeout()].into_iter().flatten().min();
            self.now = next.unwrap_or(end).clamp(self.now + Duration::from_millis(1), end);
            self.client.handle_timeout(self.now);
            if self.server.next_timeout().is_some_and(|at| at <= self.now) {
                let mut events = Vec::new();
                self.server.handle_timeout(self.now, &mut events);
                self.collect(events);
            }
            self.settle();
        }
    }

    fn send_text(&mut self, label: &str, text: &str) -> bool {
        let mut events = Vec::new();
        let taken = self.server.send_text(label, text.as_bytes(), self.now, &mut events);
        self.collect(events);
        taken
    }

    fn take_events(&mut self) -> Vec<ChannelEvent> {
        std::mem::take(&mut self.events)
    }
}

fn message(label: &str, data: &[u8]) -> ChannelEvent {
    ChannelEvent::Message(label.to_owned(), data.to_vec())
}

#[test]
fn a_peer_opens_a_channel_and_both_sides_speak() {
    let mut pair = Pair::with_channel("control");
    assert_eq!(pair.client.acknowledged, [0]);
    pair.client.send_text(0, "hello");
    pair.client.send(0, PayloadProtocolIdentifier::Binary, &[0, 255]);
    pair.settle();
    assert_eq!(pair.take_events(), [message("control", b"hello"), message("control", &[0, 255])]);
    assert!(pair.send_text("control", "welcome"));
    pair.settle();
    assert_eq!(pair.client.texts(0), ["welcome"]);
    assert_eq!(pair.client.messages[0].1, PayloadProtocolIdentifier::String);
    assert_eq!(pair.server.refused(), 0);
}

#[test]
fn empty_messages_stay_empty() {
    let mut pair = Pair::with_channel("control");
    pair.client.send(0, PayloadProtocolIdentifier::StringEmpty, &[0]);
    pair.client.send(0, PayloadProtocolIdentifier::BinaryEmpty, &[0]);
    pair.settle();
    assert_eq!(pair.take_events(), [message("control", b""), message("control", b"")]);
    assert!(pair.send_text("control", ""));
    pair.settle();
    assert_eq!(pair.client.messages, [(0, PayloadProtocolIdentifier::StringEmpty, vec![0])]);
}

#[test]
fn an_ordered_channel_waits_for_what_was_overtaken_and_an_unordered_one_does_not() {
    for unordered in [false, true] {
        let mut pair = Pair::established();
        pair.client.open(4, "input", Delivery { unordered, repeats: unordered.then_some(0) });
        pair.settle();
        pair.take_events();
        pair.client.send_text(4, "first");
        pair.flush_client();
        let late = std::mem::take(&mut pair.feed_server);
        pair.client.send_text(4, "second");
        pair.flush_client();
        let early = std::mem::take(&mut pair.feed_server);
        early.iter().for_each(|packet| pair.feed_server(packet));
        let expected = if unordered { vec![message("input", b"second")] } else { vec![] };
        assert_eq!(pair.take_events(), expected);
        late.iter().for_each(|packet| pair.feed_server(packet));
        let expected: &[&[u8]] = if unordered { &[b"first"] } else { &[b"first", b"second"] };
        let expected: Vec<ChannelEvent> = expected.iter().map(|data| message("input", data)).collect();
        assert_eq!(pair.take_events(), expected);
    }
}

#[test]
fn a_lost_packet_is_sent_again_on_a_reliable_channel() {
    let mut pair = Pair::with_channel("control");
    assert!(pair.send_text("control", "kept"));
    pair.feed_client.clear();
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.client.texts(0), ["kept"]);
    pair.client.send_text(0, "also kept");
    pair.flush_client();
    pair.feed_server.clear();
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.take_events(), [message("control", b"also kept")]);
}

#[test]
fn the_largest_message_that_is_announced_is_taken() {
    let mut pair = Pair::with_channel("control");
    let largest = vec![7; MAX_MESSAGE_BYTES as usize];
    pair.client.send(0, PayloadProtocolIdentifier::Binary, &largest);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.take_events(), [message("control", &largest)]);
    assert_eq!(pair.server.refused(), 0);
}

#[test]
fn an_oversized_message_is_never_given_out_and_is_counted() {
    for unordered in [false, true] {
        let mut pair = Pair::established();
        pair.client.open(0, "control", Delivery { unordered, repeats: None });
        pair.settle();
        pair.take_events();
        pair.client.send(0, PayloadProtocolIdentifier::Binary, &vec![7; MAX_MESSAGE_BYTES as usize + 1]);
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.take_events(), [ChannelEvent::Lost], "unordered: {unordered}");
        assert_eq!(pair.server.refused(), 1, "unordered: {unordered}");
    }
}

#[test]
fn a_channel_beyond_the_limit_is_closed_and_counted_and_the_others_go_on() {
    let mut pair = Pair::established();
    for at in 0..MAX_CHANNELS as u16 {
        pair.client.open(2 * at, &format!("channel {at}"), Delivery::default());
    }
    pair.settle();
    assert_eq!(pair.take_events().len(), MAX_CHANNELS);
    pair.client.open(100, "one too many", Delivery::default());
    pair.settle();
    pair.client.send_text(0, "still here");
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.take_events(), [message("channel 0", b"still here")]);
    assert_eq!(pair.client.finished, [100]);
    assert_eq!(pair.server.refused(), 1);
    assert!(!pair.send_text("one too many", "no"));
}

#[test]
fn a_closed_channel_makes_room_for_another() {
    let mut pair = Pair::established();
    for at in 0..MAX_CHANNELS as u16 {
        pair.client.open(2 * at, &format!("channel {at}"), Delivery::default());
    }
    pair.settle();
    pair.take_events();
    pair.client.close(0);
    pair.run(Duration::from_secs(1));
    assert!(!pair.send_text("channel 0", "closed"));
    pair.client.open(100, "another", Delivery::default());
    pair.settle();
    assert_eq!(pair.take_events(), [ChannelEvent::Opened("another".to_owned())]);
    assert_eq!(pair.server.refused(), 0);
}

#[test]
fn a_channel_of_a_known_label_replaces_the_former() {
    let mut pair = Pair::with_channel("control");
    pair.client.open(2, "control", Delivery::default());
    pair.settle();
    assert_eq!(pair.take_events(), [ChannelEvent::Opened("control".to_owned())]);
    assert!(pair.send_text("control", "to the new one"));
    pair.settle();
    assert_eq!((pair.client.texts(0), pair.client.texts(2)), (vec![], vec!["to the new one".to_owned()]));
    assert_eq!(pair.client.finished, [0]);
}

#[test]
fn text_for_a_peer_that_does_not_read_is_bounded_and_refused() {
    let mut pair = Pair::with_channel("control");
    pair.run(Duration::from_secs(1));
    let text = "x".repeat(16 * 1024);
    let mut taken = 0;
    while pair.send_text("control", &text) {
        taken += text.len();
        assert!(taken <= MAX_BUFFERED_BYTES, "{taken} bytes wait");
    }
    assert!(taken > MAX_BUFFERED_BYTES - text.len());
    assert_eq!(pair.server.refused(), 1);
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.client.texts(0).len() * text.len(), taken, "what was taken arrives once the peer reads");
    assert!(pair.send_text("control", &text));
}

#[test]
fn many_messages_of_any_size_arrive_in_packets_that_fit_any_path() {
    for length in [1, 2, 3, 4, 5, 17, 100, 959, 960, 961, 3_000] {
        let mut pair = Pair::with_channel("control");
        pair.run(Duration::from_secs(1));
        let text = "x".repeat(length);
        let taken = (0..200).filter(|_| pair.send_text("control", &text)).count();
        pair.run(Duration::from_secs(10));
        assert!(taken > 50 && pair.client.texts(0).len() == taken, "{taken} messages of {length}");
    }
}

#[test]
fn a_peer_that_opens_channels_without_end_loses_its_association() {
    let mut pair = Pair::established();
    for id in 0..4_000_u16 {
        pair.client.send(id, PayloadProtocolIdentifier::Binary, b"x");
        if id % 50 == 0 {
            pair.settle();
        }
        if pair.events.contains(&ChannelEvent::Lost) {
            assert!(id < 1_000, "{id} channels");
            assert!(pair.server.refused() > 0);
            return;
        }
    }
    panic!("4,000 channels are open");
}

#[test]
fn what_is_no_channel_opening_opens_nothing() {
    let open = support::dcep_open("control", Delivery::default());
    let mut too_long = open.clone();
    too_long[8..10].copy_from_slice(&300_u16.to_be_bytes());
    too_long.resize(12 + 300, b'x');
    let mut not_text = open.clone();
    not_text[12] = 0xFF;
    let mut cut = open.clone();
    cut.truncate(open.len() - 1);
    let mut unknown = open.clone();
    unknown[0] = 0x07;
    for (case, control) in
        [("too long a label", too_long), ("no UTF-8", not_text), ("cut", cut), ("unknown", unknown), ("short", vec![3])]
    {
        let mut pair = Pair::established();
        pair.client.send(0, PayloadProtocolIdentifier::Dcep, &control);
        pair.client.send_text(0, "without a channel");
        pair.settle();
        assert_eq!(pair.take_events(), [], "{case}");
        assert!(pair.client.acknowledged.is_empty(), "{case}");
    }
}

#[test]
fn a_second_association_does_not_disturb_the_first() {
    let mut pair = Pair::with_channel("control");
    for _ in 0..100 {
        let first_packets = ChannelPeer::new().transmit(pair.now);
        first_packets.iter().for_each(|packet| pair.feed_server(packet));
    }
    pair.client.send_text(0, "undisturbed");
    pair.settle();
    assert_eq!(pair.take_events(), [message("control", b"undisturbed")]);
}

#[test]
fn a_peer_that_aborts_is_lost_once() {
    let mut pair = Pair::with_channel("control");
    pair.client.send_text(0, "last words");
    pair.flush_client();
    // An ABORT with the tag that the client's packets carry (RFC 9260, section 3.3.7).
    let mut abort = pair.feed_server[0][..12].to_vec();
    abort[8..12].fill(0);
    abort.extend_from_slice(&[6, 0, 0, 4]);
    let checksum = crc32c(&abort).to_le_bytes();
    abort[8..12].copy_from_slice(&checksum);
    pair.settle();
    assert_eq!(pair.take_events(), [message("control", b"last words")]);
    pair.feed_server(&abort);
    pair.feed_server(&abort);
    assert_eq!(pair.take_events(), [ChannelEvent::Lost]);
    assert!(!pair.send_text("control", "gone"));
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// The packet with a right checksum, so that it gets past the first test.
fn sealed(mut packet: Vec<u8>) -> Vec<u8> {
    if let Some(field) = packet.get_mut(8..12) {
        field.fill(0);
        let checksum = crc32c(&packet).to_le_bytes();
        packet[8..12].copy_from_slice(&checksum);
    }
    packet
}

proptest! {
    #[test]
    fn takes_any_packet_without_panic(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 1..12),
        repair in any::<bool>(),
    ) {
        let mut pair = Pair::with_channel("control");
        pair.client.send_text(0, "template");
        pair.flush_client();
        let head = pair.feed_server[0][..8].to_vec();
        for packet in packets {
            let packet = if repair { sealed([head.clone(), vec![0; 4], packet].concat()) } else { packet };
            pair.feed_server(&packet);
        }
        pair.run(Duration::from_secs(1));
    }

    #[test]
    fn takes_changed_packets_without_panic(
        at in 12usize..400, value in any::<u8>(), cut in 13usize..400, text in "[a-z]{1,300}",
    ) {
        let mut pair = Pair::with_channel("control");
        pair.client.send_text(0, &text);
        pair.flush_client();
        let mut packet = pair.feed_server[0].clone();
        packet.truncate(cut);
        if let Some(byte) = packet.get_mut(at) {
            *byte = value;
        }
        pair.feed_server(&sealed(packet));
        pair.run(Duration::from_secs(1));
    }
}
