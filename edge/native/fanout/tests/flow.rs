//! How a picture leaves: at once if it fits, in pieces if not, later if there is no room, and never at the others' cost.

mod support;

use std::sync::{Arc, Weak};
use std::time::Duration;

use farstage_fanout::events::{Command, Event};
use farstage_fanout::stream::PacketizedFrame;
use farstage_rtp::packetize::Codec;
use support::world::{PICTURE_INTERVAL, STREAM, noise};
use support::{Offering, World};

const USUAL_BYTES: usize = 10_000;

fn is_continuous(world: &World, viewer: usize) -> bool {
    world.viewers[viewer].video.windows(2).all(|pair| pair[1].index == pair[0].index + 1)
}

// --- room ---

#[test]
fn nothing_is_lost_or_reordered_while_there_is_no_room() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let path = world.viewers[viewer].path;
    let mut sent = world.play(STREAM, 5, USUAL_BYTES, true);
    for round in 0..20 {
        world.wire.full.insert(path);
        sent.extend(world.play(STREAM, 3 + round % 7, USUAL_BYTES, false));
        world.wire.full.clear();
        sent.extend(world.play(STREAM, 4, USUAL_BYTES, false));
    }
    assert!(world.wire.refused > 20);
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
    assert!(is_continuous(&world, viewer));
    assert_eq!(world.row(viewer).frames_skipped, 0);
}

#[test]
fn a_viewer_goes_on_as_soon_as_there_is_room_though_the_stream_rests() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let path = world.viewers[viewer].path;
    let mut sent = world.play(STREAM, 5, USUAL_BYTES, true);
    world.wire.full.insert(path);
    sent.push(world.picture(STREAM, USUAL_BYTES, false));
    world.run(Duration::from_secs(1));
    world.wire.full.clear();
    world.run(Duration::from_millis(10));
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
}

#[test]
fn one_viewer_without_room_delays_no_other() {
    let mut world = World::new();
    let viewers: Vec<usize> = (0..4).map(|_| world.join_usual()).collect();
    let mut sent = world.play(STREAM, 5, USUAL_BYTES, true);
    world.wire.full.insert(world.viewers[viewers[1]].path);
    for _ in 0..30 {
        sent.push(world.picture(STREAM, USUAL_BYTES, false));
        for viewer in [0, 2, 3] {
            assert_eq!(world.pictures_of(viewers[viewer], STREAM).last(), sent.last(), "at once");
        }
        world.run(PICTURE_INTERVAL);
    }
}

#[test]
fn a_viewer_stalled_beyond_what_is_kept_goes_on_at_the_next_keyframe() {
    let mut world = World::new();
    let (stalled, other) = (world.join_usual(), world.join_usual());
    let path = world.viewers[stalled].path;
    let mut sent = world.play(STREAM, 10, USUAL_BYTES, true);
    world.wire.full.insert(path);
    sent.extend(world.play(STREAM, 150, USUAL_BYTES, false));
    world.wire.full.clear();
    let asked = world.keyframes_asked();
    world.play(STREAM, 10, USUAL_BYTES, false);
    assert!(world.keyframes_asked() >= asked);
    assert_eq!(world.pictures_of(stalled, STREAM), sent[..10], "what it cannot decode is not sent");
    let fresh = world.play(STREAM, 10, USUAL_BYTES, true);
    assert!(world.pictures_of(stalled, STREAM).ends_with(&fresh));
    assert!(is_continuous(&world, stalled), "its numbers show no gap: nothing is to be asked for again");
    assert!(world.row(stalled).frames_skipped >= 150);
    assert_eq!(world.pictures_of(other, STREAM).len(), 10 + 150 + 10 + 10);
    assert_eq!(world.row(other).frames_skipped, 0);
}

#[test]
fn a_stalled_viewer_makes_the_edge_keep_no_more_than_the_others_do() {
    let mut world = World::new();
    let (stalled, _) = (world.join_usual(), world.join_usual());
    world.play(STREAM, 10, USUAL_BYTES, true);
    world.wire.full.insert(world.viewers[stalled].path);
    let mut kept: Vec<Weak<PacketizedFrame>> = Vec::new();
    for at in 0..300_u16 {
        let picture = noise(u64::from(at), USUAL_BYTES);
        let timestamp = 90_000 + 3_000 * u32::from(at);
        let frame = PacketizedFrame::new(Codec::Vp8, &picture, at == 0, timestamp, at, world.now).expect("a picture");
        let frame = Arc::new(frame);
        kept.push(Arc::downgrade(&frame));
        world.command(&Command::Frame(STREAM, frame));
        world.run(PICTURE_INTERVAL);
    }
    let alive = kept.iter().filter(|frame| frame.strong_count() > 0).count();
    assert!((59..=62).contains(&alive), "{alive} pictures of two seconds are kept");
}

#[test]
fn pictures_are_kept_by_bytes_and_number_too() {
    for (bytes, count, most) in [(400_000, 100, 16 << 20), (200, 2_000, 512 * 200)] {
        let mut world = World::new();
        let mut kept: Vec<Weak<PacketizedFrame>> = Vec::new();
        for at in 0..count {
            let picture = noise(u64::from(at), bytes);
            let frame = PacketizedFrame::new(Codec::Vp8, &picture, at == 0, at, at as u16, world.now);
            let frame = Arc::new(frame.expect("a picture"));
            kept.push(Arc::downgrade(&frame));
            world.command(&Command::Frame(STREAM, frame));
            world.run(Duration::from_micros(500));
        }
        let alive = kept.iter().filter(|frame| frame.strong_count() > 0).count();
        assert!(alive * bytes <= most && (alive + 2) * bytes > most, "{alive} of {bytes} bytes");
    }
}

#[test]
fn a_stream_that_nobody_watches_or_feeds_is_forgotten() {
    let mut world = World::new();
    let picture = noise(1, USUAL_BYTES);
    let frame = Arc::new(PacketizedFrame::new(Codec::Vp8, &picture, true, 0, 0, world.now).expect("a picture"));
    let kept = Arc::downgrade(&frame);
    world.command(&Command::Frame(STREAM, frame));
    world.run(Duration::from_secs(9));
    assert_eq!(kept.strong_count(), 1);
    world.run(Duration::from_secs(30));
    assert_eq!(kept.strong_count(), 0);
}

// --- pacing ---

#[test]
fn a_picture_that_fits_the_estimate_leaves_at_once() {
    let mut world = World::new();
    world.start_bps = 2_500_000;
    let viewer = world.join_usual();
    world.play(STREAM, 3, USUAL_BYTES, true);
    for _ in 0..300 {
        let timestamp = world.picture(STREAM, USUAL_BYTES, false);
        assert_eq!(world.pictures_of(viewer, STREAM).last(), Some(&timestamp));
        world.viewers[viewer].video.clear();
        world.run(PICTURE_INTERVAL);
    }
}

#[test]
fn a_picture_of_many_slices_that_fits_leaves_at_once_as_well() {
    let mut world = World::new();
    world.start_bps = 5_000_000;
    let viewer = world.join_usual();
    world.run(PICTURE_INTERVAL);
    // Each slice longer than the one before: none can share a run with it, nor a packet.
    let slice = |at: usize| [&[0, 0, 0, 1, 0x65][..], &vec![0xA5; 600 + 2 * at]].concat();
    let picture: Vec<u8> = (0..40).flat_map(slice).collect();
    let frame = PacketizedFrame::new(Codec::H264, &picture, true, 3_000, 0, world.now).expect("a picture");
    let (packets, runs) = (frame.packets(), frame.runs.len());
    assert!(runs >= 39, "{runs}");
    world.command(&Command::Frame(STREAM, Arc::new(frame)));
    world.settle();
    assert_eq!(world.viewers[viewer].video.len(), packets, "{} bytes", picture.len());
}

#[test]
fn a_large_keyframe_leaves_in_pieces_at_a_multiple_of_the_estimate() {
    let mut world = World::new();
    world.start_bps = 2_000_000;
    let viewer = world.join_usual();
    world.run(Duration::from_millis(100));
    let start = world.now;
    let keyframe = world.picture(STREAM, 250_000, true);
    let at_once: usize = world.viewers[viewer].video.iter().map(|media| media.datagram.len()).sum();
    assert!(at_once > 10_000 && at_once < 100_000, "{at_once} bytes leave at once");
    world.run(Duration::from_secs(2));
    assert_eq!(world.pictures_of(viewer, STREAM), [keyframe]);
    let took = world.viewers[viewer].video.last().expect("packets").at - start;
    // 250 kB at 2.5 times 2 Mbit/s take 400 ms, less what may leave at once.
    assert!((Duration::from_millis(200)..Duration::from_millis(420)).contains(&took), "{took:?}");
    assert!(is_continuous(&world, viewer));
}

#[test]
fn pictures_behind_a_large_keyframe_wait_for_it_in_order() {
    let mut world = World::new();
    world.start_bps = 2_000_000;
    let viewer = world.join_usual();
    world.run(Duration::from_millis(100));
    let mut sent = vec![world.picture(STREAM, 250_000, true)];
    sent.extend(world.play(STREAM, 60, 6_000, false));
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
    assert!(is_continuous(&world, viewer));
}

#[test]
fn a_viewer_is_never_held_below_the_rate_of_its_stream() {
    let mut world = World::new();
    world.start_bps = 150_000;
    let viewer = world.join(Offering { transport_cc: false, ..Offering::default() }, STREAM);
    let sent = world.play(STREAM, 300, USUAL_BYTES, true);
    let last = world.viewers[viewer].video.last().expect("packets");
    assert_eq!(last.timestamp, *sent.last().expect("pictures"), "it is not behind");
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
}

#[test]
fn a_large_keyframe_of_one_viewer_is_in_pieces_for_each_by_its_own_estimate() {
    let mut world = World::new();
    world.start_bps = 20_000_000;
    let fast = world.join_usual();
    world.start_bps = 500_000;
    let slow = world.join_usual();
    world.run(Duration::from_millis(100));
    let keyframe = world.picture(STREAM, 200_000, true);
    assert_eq!(world.pictures_of(fast, STREAM), [keyframe]);
    assert_eq!(world.pictures_of(slow, STREAM), []);
    world.run(Duration::from_secs(2));
    assert_eq!(world.pictures_of(slow, STREAM), [keyframe]);
}

// --- failures ---

#[test]
fn a_panic_in_one_viewer_ends_that_viewer_alone() {
    let mut world = World::new();
    let viewers: Vec<usize> = (0..5).map(|_| world.join_usual()).collect();
    let mut sent = world.play(STREAM, 5, USUAL_BYTES, true);
    world.wire.broken.insert(world.viewers[viewers[2]].path);
    world.expected_panics = 1;
    sent.push(world.picture(STREAM, USUAL_BYTES, false));
    for viewer in [0, 1, 3, 4] {
        assert_eq!(world.pictures_of(viewers[viewer], STREAM), sent, "viewer {viewer} has the picture at once");
    }
    world.run(PICTURE_INTERVAL);
    assert!(world.is_gone(viewers[2]) && world.counters().panics == 1);
    assert_eq!(world.rows().len(), 4);
    sent.extend(world.play(STREAM, 30, USUAL_BYTES, false));
    for viewer in [0, 1, 3, 4] {
        assert_eq!(world.pictures_of(viewers[viewer], STREAM), sent);
        assert!(!world.is_gone(viewers[viewer]));
    }
}

#[test]
fn a_shard_that_begins_anew_ends_its_viewers_and_takes_others() {
    let mut world = World::new();
    let viewers: Vec<usize> = (0..3).map(|_| world.join_usual()).collect();
    world.play(STREAM, 5, USUAL_BYTES, true);
    world.expected_panics = 1;
    let now = world.now;
    world.shards[0].begin_anew(now);
    world.run(PICTURE_INTERVAL);
    assert!(viewers.iter().all(|viewer| world.is_gone(*viewer)) && world.rows().is_empty());
    let late = world.join_usual();
    let sent = world.play(STREAM, 5, USUAL_BYTES, true);
    assert_eq!(world.pictures_of(late, STREAM), sent);
}

#[test]
fn several_viewers_that_fail_at_the_same_picture_cost_the_others_nothing() {
    let mut world = World::new();
    let viewers: Vec<usize> = (0..6).map(|_| world.join_usual()).collect();
    let mut sent = world.play(STREAM, 2, USUAL_BYTES, true);
    for broken in [0, 1, 3] {
        world.wire.broken.insert(world.viewers[viewers[broken]].path);
    }
    world.expected_panics = 3;
    sent.push(world.picture(STREAM, USUAL_BYTES, false));
    for viewer in [2, 4, 5] {
        assert_eq!(world.pictures_of(viewers[viewer], STREAM), sent);
    }
}

#[test]
fn a_panic_wherever_a_viewer_is_handled_is_caught() {
    type Handling = fn(&mut World, usize);
    let handle: [(&str, Handling); 5] = [
        ("a check", |world, viewer| {
            let (check, path) = (world.viewers[viewer].check_request(true), world.viewers[viewer].path);
            world.deliver(path, &check);
        }),
        ("a repeat", |world, viewer| {
            let lost = world.viewers[viewer].video[0].sequence;
            world.viewers[viewer].nack(&[lost]);
        }),
        ("sound", |world, _| world.command(&Command::Audio(1_000, 960, Arc::from(&b"opus"[..])))),
        ("a farewell", |world, _| world.command(&Command::Close { session: 1_000, farewell: true })),
        ("a report", |world, _| world.run(Duration::from_millis(1_100))),
    ];
    for (case, handle) in handle {
        let mut world = World::new();
        let viewer = world.join(Offering { audio: Some("sendrecv"), ..Offering::default() }, STREAM);
        let other = world.join_usual();
        world.play(STREAM, 5, USUAL_BYTES, true);
        world.wire.broken.insert(world.viewers[viewer].path);
        world.viewers[viewer].checks_every = None;
        world.expected_panics = 1;
        handle(&mut world, viewer);
        world.settle();
        assert!(world.is_gone(viewer) && !world.is_gone(other), "{case}");
        let sent = world.play(STREAM, 5, USUAL_BYTES, true);
        assert!(world.pictures_of(other, STREAM).ends_with(&sent), "{case}");
        assert_eq!((world.count(&Event::Gone(1_000)), world.counters().panics), (1, 1), "{case}");
    }
}
