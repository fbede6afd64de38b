//! Sound to a viewer and its own voice.

mod support;

use std::sync::Arc;
use std::time::Duration;

use farstage_fanout::events::{Command, Event};
use farstage_rtp::header::FIXED_HEADER_LEN;
use support::client::OWN_SSRC;
use support::offering::OPUS;
use support::world::{STREAM, noise};
use support::{Offering, World};

/// Twenty milliseconds at 48 kHz.
const FRAME_TICKS: u32 = 960;
const FRAME_INTERVAL: Duration = Duration::from_millis(20);

fn with_sound(direction: &'static str) -> Offering {
    Offering { audio: Some(direction), ..Offering::default() }
}

fn send_sound(world: &mut World, session: u64, number: u32) {
    let frame = noise(u64::from(number), 80);
    world.command(&Command::Audio(session, number * FRAME_TICKS, Arc::from(frame)));
    world.settle();
}

fn voices(world: &World, session: u64) -> Vec<Vec<u8>> {
    let own = |event: &Event| match event {
        Event::Voice(from, frame) if *from == session => Some(frame.clone()),
        _ => None,
    };
    world.events.iter().filter_map(own).collect()
}

#[test]
fn sound_reaches_the_viewer_that_it_is_for_in_order() {
    let mut world = World::new();
    let (viewer, other) = (world.join(with_sound("sendrecv"), STREAM), world.join(with_sound("recvonly"), STREAM));
    for number in 1..=50 {
        send_sound(&mut world, 1_000, number);
        world.run(FRAME_INTERVAL);
    }
    let audio = &world.viewers[viewer].audio;
    assert_eq!(audio.len(), 50);
    for (number, media) in (1..).zip(audio) {
        assert_eq!((media.payload_type, media.timestamp), (OPUS, number * FRAME_TICKS));
        assert_eq!(media.payload, noise(u64::from(number), 80));
        assert_eq!(media.marker, number == 1, "a talk spurt begins with the first");
    }
    assert!(audio.windows(2).all(|pair| pair[1].index == pair[0].index + 1));
    assert!(world.viewers[other].audio.is_empty());
    send_sound(&mut world, 1_001, 1);
    assert_eq!(world.viewers[other].audio.len(), 1);
}

#[test]
fn sound_without_room_is_lost_and_leaves_no_gap_in_the_numbers() {
    let mut world = World::new();
    let viewer = world.join(with_sound("sendrecv"), STREAM);
    let path = world.viewers[viewer].path;
    send_sound(&mut world, 1_000, 1);
    world.wire.full.insert(path);
    send_sound(&mut world, 1_000, 2);
    world.wire.full.clear();
    send_sound(&mut world, 1_000, 3);
    let audio = &world.viewers[viewer].audio;
    let times: Vec<u32> = audio.iter().map(|media| media.timestamp).collect();
    assert_eq!(times, [FRAME_TICKS, 3 * FRAME_TICKS]);
    assert_eq!(audio[1].index, audio[0].index + 1);
}

#[test]
fn a_viewer_that_agreed_to_no_sound_is_sent_none() {
    let mut world = World::new();
    let (mute, deaf) = (world.join_usual(), world.join(with_sound("sendonly"), STREAM));
    let away = world.admit(with_sound("sendrecv"), STREAM);
    for session in [1_000, 1_001, 1_002, 77] {
        send_sound(&mut world, session, 1);
    }
    assert!([mute, deaf, away].iter().all(|viewer| world.viewers[*viewer].audio.is_empty()));
    assert_eq!(world.viewers[deaf].answer.audio_ssrc, None);
}

#[test]
fn a_voice_is_told_frame_by_frame() {
    let mut world = World::new();
    let viewer = world.join(with_sound("sendrecv"), STREAM);
    for number in 0..20_u16 {
        world.viewers[viewer].speak(number, u32::from(number) * FRAME_TICKS, OPUS, &noise(u64::from(number), 60));
        world.run(FRAME_INTERVAL);
    }
    assert_eq!(voices(&world, 1_000), (0..20).map(|number| noise(number, 60)).collect::<Vec<_>>());
}

#[test]
fn a_voice_that_was_overtaken_or_repeated_or_is_empty_is_not_told() {
    let mut world = World::new();
    let viewer = world.join(with_sound("sendonly"), STREAM);
    world.viewers[viewer].speak(1, FRAME_TICKS, OPUS, b"one");
    let late = world.viewers[viewer].voice_packet(2, 2 * FRAME_TICKS, OPUS, b"two");
    world.viewers[viewer].speak(3, 3 * FRAME_TICKS, OPUS, b"three");
    world.viewers[viewer].send(late.clone());
    world.viewers[viewer].send(late);
    world.viewers[viewer].speak(4, 4 * FRAME_TICKS, OPUS, b"");
    world.settle();
    assert_eq!(voices(&world, 1_000), [b"one".to_vec(), b"three".to_vec()]);
    assert_eq!(world.counters().srtp_refused, 1, "the repeated one");
}

#[test]
fn a_voice_that_was_not_agreed_to_is_not_told() {
    for (direction, payload_type) in
        [(Some("recvonly"), OPUS), (Some("inactive"), OPUS), (None, OPUS), (Some("sendrecv"), 9)]
    {
        let mut world = World::new();
        let viewer = world.join(Offering { audio: direction, ..Offering::default() }, STREAM);
        world.viewers[viewer].speak(1, FRAME_TICKS, payload_type, b"voice");
        world.settle();
        assert_eq!(voices(&world, 1_000), Vec::<Vec<u8>>::new(), "{direction:?} {payload_type}");
        assert!(!world.is_gone(viewer));
    }
}

#[test]
fn a_voice_with_malformed_padding_is_refused() {
    let mut world = World::new();
    let viewer = world.join(with_sound("sendrecv"), STREAM);
    let path = world.viewers[viewer].path;
    let mut packet = world.viewers[viewer].voice_packet(1, FRAME_TICKS, OPUS, b"voice");
    packet[0] |= 0x20;
    assert_eq!(world.poke(path, &packet), []);
    packet.truncate(FIXED_HEADER_LEN + 3);
    assert_eq!(world.poke(path, &packet), []);
    assert_eq!(world.counters().srtp_refused, 2);
}

#[test]
fn a_voice_is_reported_on_with_its_losses_and_jitter() {
    let mut world = World::new();
    let viewer = world.join(with_sound("sendrecv"), STREAM);
    for number in 0..100_u16 {
        if number % 4 != 3 {
            world.viewers[viewer].speak(number, u32::from(number) * FRAME_TICKS, OPUS, b"voice");
        }
        // Half of the packets come 10 ms late.
        world.run(if number % 2 == 0 { Duration::from_millis(30) } else { Duration::from_millis(10) });
    }
    let blocks = world.viewers[viewer].voice_reports();
    let last = blocks.last().expect("a report");
    assert_eq!(last.ssrc, OWN_SSRC);
    assert!((55..=73).contains(&last.fraction_lost), "a quarter of 256: {}", last.fraction_lost);
    assert!((14..=25).contains(&last.cumulative_lost), "{}", last.cumulative_lost);
    assert!((300..=960).contains(&last.jitter), "{} ticks of 48 kHz", last.jitter);
    assert!(last.highest_sequence >= 60);
}
