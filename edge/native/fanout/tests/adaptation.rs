//! What a viewer's reports of arrivals do to what its line is thought to take, true ones and lies.

mod support;

use std::time::Duration;

use support::client::Line;
use support::world::{PICTURE_INTERVAL, STREAM};
use support::{Offering, World};

/// At thirty pictures a second 2.4 Mbit/s and somewhat more with headers.
const USUAL_BYTES: usize = 10_000;
const STREAM_BPS: f64 = 2_400_000.0;
/// The estimate of a small stream never goes beyond.
const CEILING_BPS: f64 = 5_000_000.0;
const LEAST_BPS: f64 = 150_000.0;

/// Plays for these seconds; at each picture the viewer says what arrived as `report` has it.
fn play(world: &mut World, viewer: usize, seconds: usize, report: impl Fn(&mut World, usize)) {
    for _ in 0..seconds * 30 {
        world.picture(STREAM, USUAL_BYTES, false);
        world.run(PICTURE_INTERVAL);
        report(world, viewer);
        world.settle();
    }
}

fn truth(world: &mut World, viewer: usize) {
    let now = world.now;
    world.viewers[viewer].report_arrivals(now);
}

/// A viewer behind a line of this rate that has watched for a moment.
fn behind_a_line(offering: Offering, bits_per_s: u64) -> (World, usize) {
    let mut world = World::new();
    world.start_bps = 1_000_000;
    let viewer = world.join(offering, STREAM);
    world.viewers[viewer].line = Some(Line { bits_per_s, free_us: 0 });
    world.picture(STREAM, USUAL_BYTES, true);
    (world, viewer)
}

#[test]
fn nothing_is_measured_before_a_viewer_has_told_of_arrivals() {
    let (mut world, viewer) = behind_a_line(Offering::default(), 20_000_000);
    play(&mut world, viewer, 2, |_, _| {});
    assert!(world.row(viewer).measured_bps.is_nan());
    play(&mut world, viewer, 1, truth);
    assert!(world.row(viewer).measured_bps >= LEAST_BPS);
}

#[test]
fn arrivals_over_a_wide_line_raise_the_estimate_beyond_the_stream() {
    let (mut world, viewer) = behind_a_line(Offering::default(), 20_000_000);
    play(&mut world, viewer, 20, truth);
    let measured = world.row(viewer).measured_bps;
    assert!(measured > STREAM_BPS, "{measured}");
    assert!(measured <= CEILING_BPS, "{measured}");
}

#[test]
fn a_line_that_becomes_narrow_lowers_the_estimate_and_a_wide_one_raises_it_again() {
    let (mut world, viewer) = behind_a_line(Offering::default(), 20_000_000);
    play(&mut world, viewer, 15, truth);
    let wide = world.row(viewer).measured_bps;
    world.viewers[viewer].line.as_mut().expect("a line").bits_per_s = 1_500_000;
    play(&mut world, viewer, 5, truth);
    let narrow = world.row(viewer).measured_bps;
    assert!(narrow < 1_700_000.0 && narrow < wide / 2.0, "{narrow} after {wide}");
    world.viewers[viewer].line = Some(Line { bits_per_s: 20_000_000, free_us: 0 });
    play(&mut world, viewer, 30, truth);
    let again = world.row(viewer).measured_bps;
    assert!(again > STREAM_BPS, "{again}");
}

#[test]
fn probes_are_repeats_of_packets_that_the_viewer_has() {
    let (mut world, viewer) = behind_a_line(Offering::default(), 20_000_000);
    play(&mut world, viewer, 10, truth);
    let client = &world.viewers[viewer];
    assert!(client.repeats.len() > 10, "{} probe packets", client.repeats.len());
    for probe in &client.repeats {
        let (sequence, payload) = probe.original();
        let original = client.video.iter().rev().find(|media| media.sequence == sequence && media.at <= probe.at);
        let original = original.expect("a packet that was sent before");
        assert_eq!((payload, probe.timestamp), (original.payload.as_slice(), original.timestamp));
    }
    let probed: usize = client.repeats.iter().map(|probe| probe.datagram.len()).sum();
    let sent: usize = client.video.iter().map(|media| media.datagram.len()).sum();
    assert!(probed * 5 < sent, "{probed} bytes of probes for {sent} of pictures");
    assert_eq!(world.row(viewer).repeats_refused, 0);
    assert_eq!(world.row(viewer).packets_sent as usize, client.video.len(), "probes are no packets of the stream");
}

#[test]
fn nothing_is_probed_without_a_repeat_stream_or_without_reports_of_arrivals() {
    for offering in
        [Offering { rtx: false, ..Offering::default() }, Offering { transport_cc: false, ..Offering::default() }]
    {
        let (mut world, viewer) = behind_a_line(offering, 20_000_000);
        play(&mut world, viewer, 10, truth);
        assert!(world.viewers[viewer].repeats.is_empty() && world.viewers[viewer].replayed.is_empty());
    }
}

#[test]
fn a_silent_viewer_is_not_probed() {
    let (mut world, viewer) = behind_a_line(Offering::default(), 20_000_000);
    play(&mut world, viewer, 2, truth);
    world.viewers[viewer].online = false;
    play(&mut world, viewer, 15, |_, _| {});
    let last = world.viewers[viewer].unheard.last().expect("datagrams").0;
    assert!(last + Duration::from_secs(9) < world.now);
}

#[test]
fn arrivals_of_a_viewer_that_did_not_agree_to_report_them_count_for_nothing() {
    let (mut world, viewer) = behind_a_line(Offering { transport_cc: false, ..Offering::default() }, 20_000_000);
    play(&mut world, viewer, 5, |world, viewer| {
        world.viewers[viewer].transport_feedback(0, &[Some(1_000), Some(1_001), Some(1_002)]);
    });
    assert!(world.row(viewer).measured_bps.is_nan());
}

#[test]
fn lies_about_arrivals_never_raise_the_estimate_beyond_the_ceiling() {
    type Lie = fn(usize, u64) -> Option<i64>;
    let lies: [(&str, Lie); 6] = [
        ("all at once", |_, _| Some(5_000_000)),
        ("backwards", |at, _| Some(100_000_000 - at as i64)),
        ("much too fast", |_, now_us| Some((now_us / 50) as i64)),
        ("far apart", |at, now_us| Some((now_us + at as u64 * 60_000) as i64)),
        ("every other", |at, now_us| (at % 2 == 0).then_some(now_us as i64)),
        ("none but the first", |at, now_us| (at == 0).then_some(now_us as i64)),
    ];
    for (case, lie) in lies {
        let (mut world, viewer) = behind_a_line(Offering::default(), 20_000_000);
        let mut highest: f64 = 0.0;
        for _ in 0..20 {
            play(&mut world, viewer, 1, |world, viewer| {
                let now_us = (world.now - world.start).as_micros() as u64;
                let client = &mut world.viewers[viewer];
                let numbers: Vec<u16> = client.arrivals.drain(..).map(|(number, _)| number).collect();
                if let Some(base) = numbers.first() {
                    let arrivals: Vec<Option<i64>> = (0..numbers.len()).map(|at| lie(at, now_us)).collect();
                    client.transport_feedback(*base, &arrivals);
                }
            });
            highest = highest.max(world.row(viewer).measured_bps);
        }
        assert!(highest <= CEILING_BPS, "{case}: {highest}");
        let sent: usize = world.viewers[viewer].repeats.iter().map(|probe| probe.datagram.len()).sum();
        assert!(sent < 20 * 100_000, "{case}: {sent} bytes of probes");
    }
}

#[test]
fn reports_of_packets_never_sent_change_nothing() {
    let (mut world, viewer) = behind_a_line(Offering::default(), 20_000_000);
    play(&mut world, viewer, 5, truth);
    let before = world.row(viewer).measured_bps;
    for round in 0..200_u16 {
        let base = 30_000_u16.wrapping_add(round * 100);
        world.viewers[viewer].transport_feedback(base, &[Some(0); 100]);
        world.settle();
    }
    let after = world.row(viewer).measured_bps;
    assert!((after - before).abs() < before / 100.0, "{before} {after}");
}

#[test]
fn repeats_of_the_same_datagram_do_not_spoil_the_measurement() {
    let measured = |asks: bool| {
        let (mut world, viewer) = behind_a_line(Offering { rtx: false, ..Offering::default() }, 20_000_000);
        play(&mut world, viewer, 15, |world, viewer| {
            let video = &world.viewers[viewer].video;
            let older = video[video.len().saturating_sub(20)].sequence;
            if asks {
                world.viewers[viewer].nack(&[older]);
                world.settle();
            }
            truth(world, viewer);
        });
        assert_eq!(!world.viewers[viewer].replayed.is_empty(), asks);
        world.row(viewer).measured_bps
    };
    let (undisturbed, with_repeats) = (measured(false), measured(true));
    assert!(undisturbed > 1_500_000.0, "{undisturbed}");
    assert!(with_repeats > 0.9 * undisturbed, "{with_repeats} instead of {undisturbed}");
}

#[test]
fn a_receivers_own_estimate_is_told_and_caps_the_measured_one() {
    let (mut world, viewer) = behind_a_line(Offering::default(), 20_000_000);
    play(&mut world, viewer, 10, truth);
    assert!(world.row(viewer).estimate_bps.is_nan());
    world.viewers[viewer].remb(600_000);
    world.settle();
    let row = world.row(viewer);
    assert!((599_000.0..=600_000.0).contains(&row.estimate_bps), "{}", row.estimate_bps);
    assert!(row.measured_bps <= 600_000.0, "{}", row.measured_bps);
    world.viewers[viewer].remb(u64::MAX);
    world.settle();
    assert!(world.row(viewer).measured_bps <= CEILING_BPS, "a lying receiver gains nothing");
}

#[test]
fn losses_lower_the_estimate() {
    let (mut world, viewer) = behind_a_line(Offering::default(), 20_000_000);
    play(&mut world, viewer, 10, truth);
    let before = world.row(viewer).measured_bps;
    play(&mut world, viewer, 10, |world, viewer| {
        world.viewers[viewer].arrivals.retain(|(number, _)| number % 3 != 0);
        truth(world, viewer);
    });
    let after = world.row(viewer).measured_bps;
    assert!(after < 0.8 * before, "{after} after {before}");
}

#[test]
fn the_ceiling_follows_a_stream_that_needs_more() {
    let mut world = World::new();
    world.start_bps = 5_000_000;
    let viewer = world.join_usual();
    world.viewers[viewer].line = Some(Line { bits_per_s: 60_000_000, free_us: 0 });
    world.picture(STREAM, 30_000, true);
    for _ in 0..30 * 30 {
        // 8 Mbit/s.
        world.picture(STREAM, 33_000, false);
        world.run(PICTURE_INTERVAL);
        truth(&mut world, viewer);
        world.settle();
        let client = &mut world.viewers[viewer];
        client.video.clear();
        client.repeats.clear();
    }
    let measured = world.row(viewer).measured_bps;
    assert!((7_000_000.0..=20_000_000.0).contains(&measured), "{measured}");
}
