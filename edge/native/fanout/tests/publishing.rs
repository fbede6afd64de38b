//! Publishers: pictures arrive whole and in order whatever the network does, and the publisher hears what it needs to.

mod support;

use std::time::Duration;

use farstage_fanout::events::{Command, Event};
use farstage_fanout::publisher::Picture;
use farstage_rtp::header::HeaderFields;
use farstage_rtp::rtcp::{Rtcp, read_compound};
use support::offering::{OPUS, VP8};
use support::publishing::{offering, ssrc};
use support::world::PICTURE_INTERVAL;
use support::{Camera, Offering, World};

const BYTES: usize = 8_000;
const THREE: &[&str] = &["high", "half", "low"];

fn payloads(told: &[&Picture]) -> Vec<Vec<u8>> {
    told.iter().map(|picture| picture.payload.clone()).collect()
}

fn sequences(told: &[&Picture]) -> Vec<u32> {
    told.iter().map(|picture| picture.sequence).collect()
}

/// A number without apparent order for each number.
fn scattered(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33
}

#[test]
fn pictures_of_one_layer_arrive_whole_numbered_and_timed() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, offering(&[]));
    assert_eq!(world.count(&Event::Connected(1_000)), 1);
    let sent = camera.play(&mut world, 60, BYTES, |_, _| true);
    let told = camera.told(&world, 0);
    assert_eq!(payloads(&told), sent);
    assert_eq!(sequences(&told), (0..60).collect::<Vec<_>>());
    assert_eq!(told.iter().map(|picture| picture.keyframe).collect::<Vec<_>>()[..3], [true, false, false]);
    assert!(told.windows(2).all(|pair| pair[1].timestamp == pair[0].timestamp + 3_000), "over the wrap too");
    assert!(
        told.windows(2).all(|pair| (33_000..34_000).contains(&(pair[1].capture_time_us - pair[0].capture_time_us)))
    );
    assert!(world.rows().is_empty(), "a publisher is no viewer");
    assert!(camera.asked.is_empty());
}

#[test]
fn layers_are_told_apart_by_name_and_then_by_source() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, offering(THREE));
    let mut sent = camera.play(&mut world, 10, BYTES, |_, _| true);
    camera.names = false;
    sent.extend(camera.play(&mut world, 10, BYTES, |_, _| true));
    for layer in 0..3 {
        assert_eq!(payloads(&camera.told(&world, layer)), sent, "{layer}");
    }
}

#[test]
fn packets_of_no_agreed_layer_are_dropped_and_counted_and_cost_nothing() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, offering(THREE));
    camera.names = false;
    camera.play(&mut world, 1, 1_000, |_, _| true);
    assert_eq!(world.counters().sources_refused, 3, "no names");
    camera.names = true;
    let fields = HeaderFields { marker: true, payload_type: VP8, sequence: 0, timestamp: 7, ssrc: 0 };
    for number in 0..1_000 {
        let client = &mut world.viewers[camera.client];
        client.rtp(HeaderFields { ssrc: 0xF100_0000 + number, ..fields }, 1, &[], b"flood");
        world.settle();
    }
    let refused = world.counters();
    assert_eq!(refused.sources_refused + refused.srtp_refused, 1_003);
    assert!(refused.srtp_refused >= 980, "sources beyond the bound are not even remembered");
    let sent = camera.play(&mut world, 10, BYTES, |_, _| true);
    assert_eq!(payloads(&camera.told(&world, 2)), sent);
}

#[test]
fn a_twentieth_of_the_packets_lost_costs_no_picture_with_repeats_of_either_kind() {
    for rtx in [true, false] {
        let mut world = World::new();
        let mut camera = Camera::join(&mut world, Offering { rtx, ..offering(THREE) });
        let sent = camera
            .play(&mut world, 150, BYTES, |layer, number| !scattered(number * 3 + layer as u64).is_multiple_of(20));
        camera.play(&mut world, 10, BYTES, |_, _| true);
        for layer in 0..3 {
            let told = camera.told(&world, layer);
            assert_eq!(payloads(&told)[..150], sent, "layer {layer}, rtx {rtx}");
            assert_eq!(sequences(&told), (0..160).collect::<Vec<_>>());
        }
        assert!(camera.asked.len() > 100);
        assert_eq!(world.counters().pictures_lost, 0);
    }
}

#[test]
fn packets_in_any_order_make_the_same_pictures_and_are_not_asked_for() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, offering(&[]));
    let mut sent = camera.play(&mut world, 1, BYTES, |_, _| true);
    for number in 0..30 {
        let (picture, mut packets) = camera.picture(BYTES, false);
        packets.sort_by_key(|(_, sequence)| scattered(*sequence + number));
        packets.into_iter().for_each(|packet| camera.send(&mut world, packet));
        world.run(PICTURE_INTERVAL);
        sent.push(picture);
    }
    let told = camera.told(&world, 0);
    assert_eq!(payloads(&told), sent);
    assert!(camera.take_asked(&world).is_empty());
}

#[test]
fn a_packet_that_never_comes_costs_its_picture_whose_number_is_left_out() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, offering(&[]));
    camera.play(&mut world, 10, BYTES, |_, _| true);
    let (_, packets) = camera.picture(BYTES, false);
    for packet in packets.into_iter().skip(1) {
        camera.send(&mut world, packet);
    }
    for _ in 0..20 {
        let (_, packets) = camera.picture(BYTES, false);
        packets.into_iter().for_each(|packet| camera.send(&mut world, packet));
        world.run(PICTURE_INTERVAL);
    }
    let told = camera.told(&world, 0);
    let numbers: Vec<u32> = (0..10).chain(11..31).collect();
    assert_eq!(sequences(&told)[..numbers.len() - 1], numbers[..numbers.len() - 1]);
    assert_eq!(world.counters().pictures_lost, 1);
    let asked = camera.take_asked(&world);
    assert!((3..=10).contains(&asked.len()), "asked for until it is given up: {asked:?}");
}

#[test]
fn pictures_lost_whole_are_noticed_by_the_number_too() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, Offering { rtx: false, ..offering(&[]) });
    camera.play(&mut world, 5, BYTES, |_, _| true);
    camera.picture(BYTES, false);
    for _ in 0..20 {
        let (_, packets) = camera.picture(BYTES, false);
        packets.into_iter().for_each(|packet| camera.send(&mut world, packet));
        world.run(PICTURE_INTERVAL);
    }
    let numbers = sequences(&camera.told(&world, 0));
    assert_eq!(numbers[..8], [0, 1, 2, 3, 4, 6, 7, 8]);
}

#[test]
fn the_patience_for_a_missing_packet_is_bounded_in_time() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, offering(&[]));
    camera.play(&mut world, 3, BYTES, |_, _| true);
    let (_, packets) = camera.picture(BYTES, false);
    packets.into_iter().skip(1).for_each(|packet| camera.send(&mut world, packet));
    let (_, packets) = camera.picture(BYTES, false);
    packets.into_iter().for_each(|packet| camera.send(&mut world, packet));
    world.run(Duration::from_millis(100));
    assert_eq!(camera.told(&world, 0).len(), 3, "it may still come");
    world.run(Duration::from_millis(200));
    assert_eq!(sequences(&camera.told(&world, 0)), [0, 1, 2, 4]);
}

#[test]
fn gaps_of_any_size_and_packets_of_long_ago_do_no_harm() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, offering(&[]));
    camera.play(&mut world, 3, BYTES, |_, _| true);
    for _ in 0..500 {
        camera.picture(BYTES, false);
    }
    let last = camera.next(0);
    let sent = camera.play(&mut world, 5, BYTES, |_, _| true);
    let told = camera.told(&world, 0);
    assert_eq!(payloads(&told)[3..], sent);
    assert!(told[3].sequence > told[2].sequence + 1);
    assert!(camera.take_asked(&world).len() < 600, "a gap like this is not asked for");
    camera.send(&mut world, (0, last - 900));
    camera.play(&mut world, 2, BYTES, |_, _| true);
    assert_eq!(camera.told(&world, 0).len(), 10);
}

#[test]
fn an_encoder_set_up_anew_takes_the_place_of_the_former() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, offering(THREE));
    camera.play(&mut world, 5, BYTES, |_, _| true);
    camera.report(&mut world, 1, 0, Duration::ZERO);
    camera.set_up_anew(1);
    let sent = camera.play(&mut world, 30, BYTES, |_, _| true);
    let told = camera.told(&world, 1);
    assert_eq!(payloads(&told)[5..], sent);
    let steps = told.windows(2).map(|pair| pair[1].capture_time_us - pair[0].capture_time_us);
    assert!(steps.clone().all(|step| (30_000..40_000).contains(&step)), "{:?}", steps.collect::<Vec<_>>());
    let other = camera.told(&world, 0);
    assert_eq!(other.len(), 35);
    let apart_us = (told[34].capture_time_us - other[34].capture_time_us).abs();
    assert!(apart_us < 5_000, "the former's report is forgotten: {apart_us}");
}

#[test]
fn keyframes_are_asked_for_of_the_layer_and_no_more_often_than_three_times_a_second() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, offering(THREE));
    world.command(&Command::RequestKeyframe(1_000, 1));
    world.run(Duration::from_millis(500));
    assert!(camera.keyframes_asked(&world).is_empty(), "the layer's source is not known yet");
    camera.play(&mut world, 1, 1_000, |_, _| false);
    let (_, packets) = camera.picture(BYTES, false);
    packets.into_iter().for_each(|packet| camera.send(&mut world, packet));
    assert_eq!(camera.keyframes_asked(&world), [ssrc(1)], "now it is");
    for _ in 0..100 {
        world.command(&Command::RequestKeyframe(1_000, 1));
        world.command(&Command::RequestKeyframe(1_000, 9));
        world.command(&Command::RequestKeyframe(77, 1));
        world.run(Duration::from_millis(10));
    }
    let asked = camera.keyframes_asked(&world);
    assert!((4..=5).contains(&asked.len()) && asked.iter().all(|of| *of == ssrc(1)), "{asked:?}");
}

#[test]
fn a_keyframe_that_comes_fulfils_the_request() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, offering(&[]));
    camera.play(&mut world, 3, BYTES, |_, _| true);
    world.command(&Command::RequestKeyframe(1_000, 0));
    world.command(&Command::RequestKeyframe(1_000, 0));
    camera.play(&mut world, 30, BYTES, |_, _| true);
    assert_eq!(camera.keyframes_asked(&world).len(), 1);
}

#[test]
fn the_arrival_of_every_packet_is_reported_by_transport_wide_number() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, offering(THREE));
    camera.play(&mut world, 60, BYTES, |layer, number| layer != 1 || number % 10 != 3);
    world.run(Duration::from_millis(100));
    let statuses = camera.arrivals(&world);
    let lost = statuses.iter().filter(|status| status.arrival_us.is_none()).count();
    assert!(lost >= 40, "{lost}");
    assert_eq!(statuses[0].sequence, 65_000);
    assert!(
        statuses.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)),
        "all, once, in order"
    );
    let arrivals: Vec<i64> = statuses.iter().filter_map(|status| status.arrival_us).collect();
    assert!(arrivals.is_sorted());
    let spread_us = arrivals.last().expect("some") - arrivals[0];
    assert!((1_900_000..2_100_000).contains(&spread_us), "{spread_us}");
}

#[test]
fn every_compound_begins_with_a_report_and_a_name_and_losses_are_in_it() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, Offering { rtx: false, ..offering(&[]) });
    for _ in 0..60 {
        let (_, packets) = camera.picture(BYTES, false);
        for packet in packets.into_iter().filter(|(_, number)| number % 4 != 3) {
            camera.send(&mut world, packet);
        }
        world.run(PICTURE_INTERVAL);
    }
    world.run(Duration::from_millis(100));
    for report in &world.viewers[camera.client].reports {
        let kinds: Vec<_> = read_compound(report).collect();
        assert!(matches!(kinds[0], Ok(Rtcp::ReceiverReport(_))) && matches!(kinds[1], Ok(Rtcp::Sdes(_))));
        assert!(kinds.iter().all(Result::is_ok));
    }
    let blocks = camera.blocks(&world, 0);
    assert_eq!(blocks.len(), 2, "each second");
    assert!((55..=73).contains(&blocks[1].fraction_lost), "a quarter of 256: {}", blocks[1].fraction_lost);
    assert!(blocks[1].highest_sequence > 65_536, "with its rollovers");
}

#[test]
fn layers_of_one_picture_are_of_one_time_by_their_sender_reports() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, offering(THREE));
    // The publisher's first picture was taken 40 ms before it arrived, by its own clock.
    world.run(Duration::from_millis(40));
    camera.play(&mut world, 1, BYTES, |_, _| true);
    for layer in 0..3 {
        camera.report(&mut world, layer, 0, Duration::ZERO);
    }
    camera.play(&mut world, 90, BYTES, |layer, number| layer != 2 || number % 7 != 0);
    let start_us = 1_795_564_800_000_000;
    for layer in 0..3 {
        let told = camera.told(&world, layer);
        let captured_us = told[89].capture_time_us - start_us;
        let expected_us = 89 * 3_000 * 100 / 9;
        assert!((captured_us - expected_us).abs() <= 1_000, "layer {layer}: {captured_us} for {expected_us}");
        assert!(told.windows(2).all(|pair| pair[1].capture_time_us > pair[0].capture_time_us));
        let steps = told.windows(2).map(|pair| pair[1].capture_time_us - pair[0].capture_time_us);
        assert!(steps.clone().all(|step| (25_000..45_000).contains(&step)), "time never jumps");
    }
}

#[test]
fn a_publisher_whose_clock_is_wrong_is_timed_by_arrival() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, offering(THREE));
    world.run(Duration::from_secs(1));
    camera.play(&mut world, 1, BYTES, |_, _| true);
    for layer in 0..3 {
        camera.report(&mut world, layer, 0, Duration::from_secs(3_600));
    }
    camera.play(&mut world, 60, BYTES, |_, _| true);
    let start_us = 1_795_564_800_000_000;
    let times: Vec<i64> = (0..3).map(|layer| camera.told(&world, layer)[60].capture_time_us - start_us).collect();
    assert!(times.iter().all(|us| (2_900_000..3_100_000).contains(us)), "{times:?}");
    assert!(times.iter().all(|us| (us - times[0]).abs() <= 1_000), "{times:?}");
}

#[test]
fn sound_is_told_frame_by_frame_in_order() {
    let mut world = World::new();
    let camera = Camera::join(&mut world, Offering { audio: Some("sendonly"), ..offering(THREE) });
    for number in [1, 2, 4, 3, 5] {
        world.viewers[camera.client].speak(number, u32::from(number) * 960, OPUS, &[number as u8]);
        world.settle();
    }
    let heard: Vec<&Event> = world.events.iter().filter(|event| matches!(event, Event::Voice(..))).collect();
    let expected: Vec<Event> = [1, 2, 4, 5].map(|number| Event::Voice(1_000, vec![number])).into();
    assert_eq!(heard, expected.iter().collect::<Vec<_>>());
}

#[test]
fn forged_truncated_and_replayed_packets_are_dropped_and_counted() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, offering(&[]));
    camera.play(&mut world, 2, BYTES, |_, _| true);
    let path = world.viewers[camera.client].path;
    let fields = HeaderFields { marker: true, payload_type: VP8, sequence: 0, timestamp: 7, ssrc: ssrc(0) };
    let packet = world.viewers[camera.client].rtp_packet(fields, camera.next(0) + 7, &[], b"picture");
    for end in 0..packet.len() {
        world.poke(path, &packet[..end]);
    }
    for at in 2..packet.len() {
        let mut forged = packet.clone();
        forged[at] ^= 1;
        world.poke(path, &forged);
    }
    world.poke(path, &packet);
    world.poke(path, &packet);
    let counters = world.counters();
    assert!(counters.srtp_refused >= 2 * packet.len() as u64 - 20, "{counters:?}");
    let sent = camera.play(&mut world, 20, BYTES, |_, _| true);
    assert!(payloads(&camera.told(&world, 0)).ends_with(&sent[10..]));
    assert!(!world.is_gone(camera.client));
}

#[test]
fn authentic_packets_with_nonsense_inside_cost_no_more_than_pictures() {
    let mut world = World::new();
    let mut camera = Camera::join(&mut world, offering(&[]));
    camera.play(&mut world, 2, BYTES, |_, _| true);
    for number in 0..400_u64 {
        let client = &mut world.viewers[camera.client];
        let payload = support::world::noise(number, (scattered(number) % 40) as usize);
        let payload_type = if number % 3 == 0 { VP8 + 1 } else { VP8 };
        let ssrc = ssrc(0) + u32::from(payload_type != VP8);
        let timestamp = scattered(number) as u32;
        let fields = HeaderFields { marker: number % 2 == 0, payload_type, sequence: 0, timestamp, ssrc };
        client.rtp(fields, camera.next(0) + number, &[], &payload);
        let mut rtcp = support::world::noise(number, 8 + 4 * (number % 9) as usize);
        rtcp[0] = 0x80 | rtcp[0] & 0x1F;
        rtcp[1] = 200 + (number % 8) as u8;
        client.rtcp(rtcp);
        world.settle();
    }
    world.run(Duration::from_secs(1));
    assert!(world.counters().rtcp_malformed > 0 && world.counters().pictures_lost > 0);
    assert!(!world.is_gone(camera.client));
}

#[test]
fn a_publisher_is_gone_when_it_says_goodbye_or_falls_silent_and_closed_without_a_word() {
    let mut world = World::new();
    let leaver = Camera::join(&mut world, offering(&[]));
    let silent = Camera::join(&mut world, offering(THREE));
    let closed = Camera::join(&mut world, offering(&[]));
    world.viewers[leaver.client].close(world.now);
    world.settle();
    assert!(world.is_gone(leaver.client));
    world.command(&Command::Close { session: 1_002, farewell: true });
    world.settle();
    assert!(world.viewers[closed.client].closed && !world.is_gone(closed.client));
    world.viewers[silent.client].online = false;
    world.run(Duration::from_secs(19));
    assert!(!world.is_gone(silent.client));
    world.run(Duration::from_secs(3));
    assert!(world.is_gone(silent.client));
}

#[test]
fn a_publisher_and_a_viewer_on_one_shard_do_not_mix() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let mut camera = Camera::join(&mut world, offering(&[]));
    let sent = world.play(support::world::STREAM, 5, BYTES, true);
    camera.play(&mut world, 5, BYTES, |_, _| true);
    assert_eq!(world.pictures_of(viewer, support::world::STREAM), sent);
    assert_eq!(camera.told(&world, 0).len(), 5);
    world.command(&Command::RequestKeyframe(world.viewers[viewer].session, 0));
    assert_eq!(world.rows().len(), 1);
}

#[test]
fn a_failure_in_one_publisher_ends_it_alone() {
    let mut world = World::new();
    let (mut one, mut other) = (Camera::join(&mut world, offering(&[])), Camera::join(&mut world, offering(&[])));
    one.play(&mut world, 2, BYTES, |_, _| true);
    let path = world.viewers[one.client].path;
    world.wire.broken.insert(path);
    world.expected_panics = 1;
    world.run(Duration::from_secs(2));
    assert!(world.is_gone(one.client));
    let sent = other.play(&mut world, 5, BYTES, |_, _| true);
    assert_eq!(payloads(&other.told(&world, 0)), sent);
}

#[test]
fn packets_that_reach_another_shard_after_a_change_of_network_are_handed_over() {
    let mut world = World::with_shards(2);
    let mut camera = Camera::join(&mut world, offering(THREE));
    let mut sent = camera.play(&mut world, 3, BYTES, |_, _| true);
    let elsewhere = support::world::address(77);
    world.lands_on.insert(elsewhere, 1);
    world.viewers[camera.client].move_to(elsewhere);
    world.settle();
    sent.extend(camera.play(&mut world, 10, BYTES, |_, number| !number.is_multiple_of(9)));
    sent.extend(camera.play(&mut world, 5, BYTES, |_, _| true));
    assert!(world.forwarded > 100);
    assert_eq!(payloads(&camera.told(&world, 1)), sent);
}
