//! What one peer's data channels can make us keep: measured on the heap, whatever the peer sends.
#![allow(unsafe_code, reason = "a counting allocator is a GlobalAlloc")]

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::sync::atomic::Ordering;
use std::time::Instant;

use counting::LIVE;
use farstage_transport::channels::{ChannelEvent, Channels};
use sctp_proto::PayloadProtocolIdentifier;
use support::{ChannelPeer, Delivery};

/// Bytes that the server keeps more after `feed` than before; what comes out of it is thrown away.
fn growth(server: &mut Channels, packets: impl Iterator<Item = Vec<u8>>) -> usize {
    let now = Instant::now();
    let before = LIVE.load(Ordering::Relaxed);
    for packet in packets {
        let mut events = Vec::new();
        server.handle(&packet, now, &mut events);
    }
    LIVE.load(Ordering::Relaxed).saturating_sub(before)
}

fn exchange(server: &mut Channels, client: &mut ChannelPeer) {
    let now = Instant::now();
    for _ in 0..8 {
        for packet in client.transmit(now) {
            let mut events = Vec::new();
            server.handle(&packet, now, &mut events);
            for event in events {
                if let ChannelEvent::Transmit(packet) = event {
                    client.handle(&packet, now);
                }
            }
        }
    }
}

fn established() -> (Channels, ChannelPeer) {
    let (mut server, mut client) = (Channels::new(), ChannelPeer::new());
    exchange(&mut server, &mut client);
    client.open(0, "control", Delivery::default());
    exchange(&mut server, &mut client);
    assert_eq!(client.acknowledged, [0]);
    (server, client)
}

/// One test alone, as all of a process share the allocator.
#[test]
fn no_peer_makes_us_keep_more_than_its_bounds() {
    let first_packets = || ChannelPeer::new().transmit(Instant::now())[0].to_vec();
    let (mut server, _client) = established();
    let grown = growth(&mut server, (0..5_000).map(|_| first_packets()));
    assert!(grown < 32 << 10, "{grown} bytes for associations never used");

    let (mut server, mut client) = established();
    for id in 1..200_u16 {
        client.send(id, PayloadProtocolIdentifier::Binary, b"x");
    }
    let packets: Vec<Vec<u8>> = client.transmit(Instant::now()).iter().map(|packet| packet.to_vec()).collect();
    let grown = growth(&mut server, packets.into_iter());
    assert!(grown < 128 << 10, "{grown} bytes for channels never opened");
}
