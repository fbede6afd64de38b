//! Streams in several layers: who gets which, and how a viewer goes from one to another.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use farstage_fanout::events::{Command, Event};
use support::client::Line;
use support::simulcast::{RATES_BPS, Simulcast, changes};
use support::world::{PICTURE_INTERVAL, STREAM};
use support::{Media, Offering, World};

const WIDE_BPS: u64 = 20_000_000;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A world with a stream of three layers and a viewer behind a line of this rate, thought to take `start_bps`.
fn watching(start_bps: u64, line_bps: u64) -> (World, Simulcast, usize) {
    let mut world = World::new();
    let source = Simulcast::new(&mut world);
    let viewer = join(&mut world, start_bps, line_bps);
    (world, source, viewer)
}

fn join(world: &mut World, start_bps: u64, line_bps: u64) -> usize {
    world.start_bps = start_bps;
    let viewer = world.join(Offering::default(), STREAM);
    world.viewers[viewer].line = Some(Line { bits_per_s: line_bps, free_us: 0 });
    viewer
}

fn narrow(world: &mut World, viewer: usize, line_bps: u64) {
    let line = world.viewers[viewer].line.as_mut().expect("a line");
    line.bits_per_s = line_bps;
}

/// How long what is sent now would wait before the viewer's line.
fn queue(world: &World, viewer: usize) -> Duration {
    let free_us = world.viewers[viewer].line.expect("a line").free_us;
    Duration::from_micros(free_us).saturating_sub(world.now - world.start)
}

fn layer_of(world: &World, viewer: usize) -> u8 {
    world.row(viewer).layer
}

#[test]
fn newcomers_start_with_what_their_lines_are_thought_to_take() {
    let mut world = World::new();
    let mut source = Simulcast::new(&mut world);
    let viewers = [200_000, 400_000, 1_500_000, 8_000_000].map(|start_bps| join(&mut world, start_bps, WIDE_BPS));
    source.play(&mut world, Duration::from_millis(200));
    let first = viewers.map(|viewer| source.decoded(&world, viewer)[0].layer);
    assert_eq!(first, [0, 0, 1, 2]);
    assert_eq!(viewers.map(|viewer| world.row(viewer).wanted_layer), [0, 0, 1, 2]);
}

#[test]
fn a_newcomer_is_shown_the_lower_layer_that_is_there_until_its_own_begins() {
    let mut world = World::new();
    let mut source = Simulcast::new(&mut world);
    source.encoded = vec![0];
    source.play(&mut world, seconds(1));
    let viewer = join(&mut world, 8_000_000, WIDE_BPS);
    assert_eq!(source.decoded(&world, viewer)[0].layer, 0, "at once");
    assert_eq!((layer_of(&world, viewer), world.row(viewer).wanted_layer), (0, 2));
    world.run(PICTURE_INTERVAL);
    assert_eq!(world.count(&Event::KeyframeNeeded(STREAM, 2)), 1);
    source.begin(2);
    source.play(&mut world, seconds(1));
    assert_eq!(changes(&source.decoded(&world, viewer)), [0, 2]);
}

#[test]
fn a_line_that_becomes_narrow_gets_the_lower_layer_within_two_seconds_and_without_a_break() {
    for (line_bps, layer) in [(1_600_000, 1), (600_000, 0)] {
        let (mut world, mut source, viewer) = watching(3_500_000, WIDE_BPS);
        source.play(&mut world, seconds(10));
        assert_eq!(layer_of(&world, viewer), 2);
        narrow(&mut world, viewer, line_bps);
        source.play(&mut world, seconds(2));
        assert_eq!(layer_of(&world, viewer), layer, "{line_bps}");
        source.play(&mut world, seconds(5));
        assert!(queue(&world, viewer) < Duration::from_millis(150), "{:?}", queue(&world, viewer));
        let shown = source.decoded(&world, viewer);
        assert!(shown.len() > 15 * 30, "the picture went on");
        assert_eq!(world.row(viewer).freezes, 0);
    }
}

#[test]
fn a_line_that_takes_more_gets_the_higher_layer_at_the_next_keyframe() {
    let (mut world, mut source, viewer) = watching(400_000, WIDE_BPS);
    source.play(&mut world, seconds(30));
    assert_eq!(layer_of(&world, viewer), 2);
    let shown = source.decoded(&world, viewer);
    let layers = changes(&shown);
    assert!(layers == [0, 1, 2] || layers == [0, 2], "{layers:?}");
    assert!(shown.windows(2).all(|pair| pair[1].number == pair[0].number + 1), "not one moment is left out");
    assert_eq!((world.row(viewer).freezes, world.row(viewer).frames_skipped), (0, 0));
}

#[test]
fn layers_may_come_in_any_order() {
    let (mut world, mut source, viewer) = watching(400_000, WIDE_BPS);
    source.encoded = vec![2, 0, 1];
    source.play(&mut world, seconds(20));
    narrow(&mut world, viewer, 600_000);
    source.play(&mut world, seconds(5));
    let layers = changes(&source.decoded(&world, viewer));
    assert_eq!((layers.first(), layers.last()), (Some(&0), Some(&0)), "{layers:?}");
    assert!(layers.contains(&2), "{layers:?}");
}

#[test]
fn a_line_between_two_layers_is_not_sent_to_and_fro_and_keeps_a_short_queue() {
    for line_bps in [450_000, 1_050_000, 1_200_000, 1_800_000, 2_450_000, 2_600_000, 2_800_000] {
        let (mut world, mut source, viewer) = watching(line_bps * 3 / 2, line_bps);
        source.play(&mut world, seconds(20));
        let settled = source.decoded(&world, viewer).len();
        let mut longest = Duration::ZERO;
        for _ in 0..120 {
            source.play(&mut world, seconds(1));
            longest = longest.max(queue(&world, viewer));
        }
        let shown = source.decoded(&world, viewer);
        let switches = changes(&shown[settled..]).len() - 1;
        assert!(switches < 3 * 2, "{switches} in two minutes at {line_bps} bit/s");
        assert!(longest < Duration::from_millis(400), "{longest:?} at {line_bps} bit/s");
        assert!(shown.len() > 138 * 30, "{} pictures at {line_bps} bit/s", shown.len());
        let least = RATES_BPS.iter().rposition(|bps| *bps * 5 / 4 < line_bps).unwrap_or(0);
        let lowest = shown[settled..].iter().map(|picture| picture.layer).min();
        assert!(lowest >= Some(least as u8), "{lowest:?} at {line_bps} bit/s");
    }
}

#[test]
fn a_layer_that_stops_is_left_for_one_that_flows() {
    let (mut world, mut source, viewer) = watching(3_500_000, WIDE_BPS);
    source.play(&mut world, seconds(5));
    source.encoded = vec![0, 1];
    source.play(&mut world, seconds(1));
    assert_eq!(layer_of(&world, viewer), 1);
    let shown = source.decoded(&world, viewer);
    let gap = shown.windows(2).map(|pair| pair[1].number - pair[0].number).max();
    assert!(gap <= Some(21), "{gap:?} pictures in which it stood still");
}

#[test]
fn a_stream_that_rests_in_all_layers_changes_nothing() {
    let (mut world, mut source, viewer) = watching(3_500_000, WIDE_BPS);
    source.play(&mut world, seconds(3));
    world.events.clear();
    world.run(seconds(8));
    assert_eq!((layer_of(&world, viewer), world.row(viewer).wanted_layer), (2, 2));
    assert_eq!(world.events, []);
}

#[test]
fn packets_from_before_a_change_can_be_repeated_after_it() {
    for rtx in [true, false] {
        let mut world = World::new();
        let mut source = Simulcast::new(&mut world);
        world.start_bps = 400_000;
        let viewer = world.join(Offering { rtx, ..Offering::default() }, STREAM);
        world.viewers[viewer].line = Some(Line { bits_per_s: WIDE_BPS, free_us: 0 });
        if rtx {
            while layer_of(&world, viewer) == 0 {
                source.play(&mut world, PICTURE_INTERVAL);
            }
        } else {
            // Without repeats nothing is probed: a small stream is never known to have room for more.
            source.play(&mut world, seconds(1));
            source.encoded = vec![2];
            source.begin(1);
            source.play(&mut world, seconds(1));
        }
        world.run(Duration::from_millis(100));
        let shown = source.decoded(&world, viewer);
        let last_of_former = shown.iter().rev().find(|picture| picture.layer == 0).expect("pictures of the low layer");
        let client = &mut world.viewers[viewer];
        let lost: Media = client.video.iter().find(|m| m.timestamp == last_of_former.timestamp).expect("it").clone();
        client.repeats.clear();
        client.nack(&[lost.sequence]);
        world.settle();
        let client = &world.viewers[viewer];
        if rtx {
            assert_eq!(client.repeats.len(), 1);
            assert_eq!(client.repeats[0].original(), (lost.sequence, lost.payload.as_slice()));
            assert_eq!(client.repeats[0].timestamp, lost.timestamp);
        } else {
            assert_eq!(client.replayed, [lost.datagram]);
        }
        assert_eq!(world.row(viewer).nacks, 1);
    }
}

#[test]
fn a_layer_that_the_line_does_not_take_is_neither_sent_nor_repeated_while_what_waits_drains() {
    let (mut world, mut source, viewer) = watching(3_500_000, WIDE_BPS);
    source.play(&mut world, seconds(10));
    source.hears = false;
    narrow(&mut world, viewer, 450_000);
    while world.row(viewer).wanted_layer == 2 {
        source.play(&mut world, PICTURE_INTERVAL);
    }
    assert!(queue(&world, viewer) > Duration::from_millis(200), "{:?}", queue(&world, viewer));
    let recent: Vec<u16> = world.viewers[viewer].video.iter().rev().take(20).map(|media| media.sequence).collect();
    let sent = world.viewers[viewer].video.len();
    world.viewers[viewer].repeats.clear();
    world.viewers[viewer].nack(&recent);
    source.play(&mut world, PICTURE_INTERVAL * 3);
    assert_eq!(world.row(viewer).layer, 2, "the lower layer's keyframe has not come");
    assert!(world.viewers[viewer].video.len() - sent < 10, "{}", world.viewers[viewer].video.len() - sent);
    assert!(world.viewers[viewer].repeats.is_empty());
}

#[test]
fn two_viewers_get_different_layers_of_one_stream() {
    let mut world = World::new();
    let mut source = Simulcast::new(&mut world);
    let (slow, fast) = (join(&mut world, 350_000, 450_000), join(&mut world, 3_500_000, WIDE_BPS));
    source.play(&mut world, seconds(20));
    assert_eq!(changes(&source.decoded(&world, slow)), [0]);
    assert_eq!(changes(&source.decoded(&world, fast)), [2]);
    for (viewer, layer) in [(slow, 0), (fast, 2)] {
        let row = world.row(viewer);
        assert_eq!((row.layer, row.wanted_layer, row.freezes), (layer, layer, 0));
    }
}

#[test]
fn wishes_for_a_layers_keyframe_are_told_twice_a_second_however_many_wait() {
    let mut world = World::new();
    let mut source = Simulcast::new(&mut world);
    source.hears = false;
    source.encoded = vec![0];
    source.play(&mut world, PICTURE_INTERVAL);
    let viewers: Vec<usize> = (0..10).map(|_| join(&mut world, 8_000_000, WIDE_BPS)).collect();
    world.events.clear();
    source.play(&mut world, seconds(2));
    assert!(viewers.iter().all(|viewer| world.row(*viewer).wanted_layer == 2));
    let asked = world.count(&Event::KeyframeNeeded(STREAM, 2));
    assert!((4..=5).contains(&asked), "{asked}");
    assert_eq!(world.count(&Event::KeyframeNeeded(STREAM, 0)), 0, "nobody waits for that one");
}

#[test]
fn a_lost_picture_costs_a_keyframe_of_the_layer_that_is_shown_and_counts_as_one_freeze() {
    let (mut world, mut source, viewer) = watching(3_500_000, WIDE_BPS);
    source.play(&mut world, seconds(2));
    world.events.clear();
    world.viewers[viewer].pli();
    world.settle();
    world.viewers[viewer].pli();
    world.settle();
    assert_eq!(world.count(&Event::KeyframeNeeded(STREAM, 2)), 1);
    assert_eq!(world.row(viewer).freezes, 1);
    source.hears = true;
    source.play(&mut world, seconds(2));
    assert_eq!(world.row(viewer).layer, 2);
    assert!(source.shown(&world, viewer).len() > 100);
}

#[test]
fn a_picture_leaves_once_however_many_layers_show_it() {
    let mut world = World::new();
    let mut source = Simulcast::new(&mut world);
    join(&mut world, 350_000, 450_000);
    join(&mut world, 3_500_000, WIDE_BPS);
    source.play(&mut world, PICTURE_INTERVAL * 30);
    let mut left: Vec<u32> = world
        .events
        .iter()
        .filter_map(|event| if let Event::PictureLeft(STREAM, timestamp) = event { Some(*timestamp) } else { None })
        .collect();
    let all = left.len();
    left.dedup();
    assert_eq!((left.len(), all), (30, 30));
}

#[test]
fn pictures_of_layers_that_the_stream_does_not_have_are_dropped_and_counted_once() {
    let mut world = World::with_shards(2);
    let mut source = Simulcast::new(&mut world);
    let viewer = join(&mut world, 8_000_000, WIDE_BPS);
    source.play(&mut world, seconds(1));
    world.command(&Command::Layers(STREAM, Arc::from([])));
    source.play(&mut world, PICTURE_INTERVAL * 30);
    assert_eq!(world.counters().layers_refused, 2 * 30);
    assert_eq!(changes(&source.decoded(&world, viewer)), [2, 0], "what is left is shown");
}

#[test]
fn layers_that_come_back_go_on_numbering_and_repeats_never_find_another_picture() {
    let (mut world, mut source, viewer) = watching(8_000_000, WIDE_BPS);
    source.play(&mut world, seconds(1));
    let former: Vec<u16> = world.viewers[viewer].video.iter().map(|media| media.sequence).collect();
    world.command(&Command::Layers(STREAM, Arc::from([])));
    world.command(&Command::Layers(STREAM, Arc::from(RATES_BPS)));
    source.begin(2);
    source.encoded = vec![0, 1, 2];
    source.play(&mut world, PICTURE_INTERVAL);
    world.viewers[viewer].repeats.clear();
    world.viewers[viewer].nack(&former[former.len() - 60..]);
    world.settle();
    assert!(world.viewers[viewer].repeats.is_empty());
}

#[test]
fn a_described_stream_is_remembered_until_it_is_forgotten() {
    let mut world = World::new();
    let mut source = Simulcast::new(&mut world);
    world.run(seconds(60));
    let viewer = join(&mut world, 8_000_000, WIDE_BPS);
    source.play(&mut world, Duration::from_millis(100));
    assert_eq!(source.decoded(&world, viewer)[0].layer, 2);
}

#[test]
fn the_estimate_of_a_viewer_on_a_low_layer_can_rise_to_what_the_highest_takes() {
    let mut world = World::new();
    let rates = [300_000, 1_000_000, 6_000_000];
    let mut source = Simulcast::new(&mut world);
    world.command(&Command::Layers(STREAM, Arc::from(rates)));
    source.encoded = vec![0];
    let viewer = join(&mut world, 400_000, 60_000_000);
    source.play(&mut world, seconds(40));
    assert_eq!(layer_of(&world, viewer), 0);
    let measured = world.row(viewer).measured_bps;
    assert!(measured > 6_000_000.0, "{measured}");
}

#[test]
fn a_change_costs_a_viewer_no_time_before_its_picture() {
    let (mut world, mut source, viewer) = watching(400_000, WIDE_BPS);
    source.play(&mut world, seconds(30));
    // The first picture of the new layer comes with its own moment, not one later.
    let shown = source.decoded(&world, viewer);
    let first = shown.iter().position(|picture| picture.layer == 2).expect("the top layer");
    let arrived = |timestamp: u32| -> Instant {
        world.viewers[viewer].video.iter().find(|media| media.timestamp == timestamp).expect("it").at
    };
    let gap = arrived(shown[first].timestamp) - arrived(shown[first - 1].timestamp);
    assert!(gap < 2 * PICTURE_INTERVAL, "{gap:?}");
}
