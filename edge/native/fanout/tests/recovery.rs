//! What a viewer that lost something gets: repeats within a budget, and keyframes that all share.

mod support;

use std::time::Duration;

use farstage_fanout::events::Event;
use farstage_rtp::rtcp::{FirEntry, ReportBlock, write_fir, write_nack, write_pli};
use support::client::OWN_SSRC;
use support::offering::VP8_RTX;
use support::world::{PICTURE_INTERVAL, STREAM};
use support::{Media, Offering, World};

/// Nine packets.
const USUAL_BYTES: usize = 10_000;
const OTHER_STREAM: u64 = 8;
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);
/// How late a timer may fire.
const SWEEP: Duration = Duration::from_millis(50);
/// Repeats that a viewer has saved up at its start.
const SAVED_REPEATS: usize = 64;

/// A world whose viewer has watched for a second, with no request pending.
fn watching(offering: Offering) -> (World, usize) {
    let mut world = World::new();
    let viewer = world.join(offering, STREAM);
    world.play(STREAM, 30, USUAL_BYTES, true);
    world.events.clear();
    (world, viewer)
}

fn without_rtx() -> Offering {
    Offering { rtx: false, ..Offering::default() }
}

// --- keyframes ---

#[test]
fn a_lost_picture_is_answered_by_one_request_for_a_keyframe() {
    let (mut world, viewer) = watching(Offering::default());
    world.viewers[viewer].pli();
    world.settle();
    assert_eq!(world.keyframes_asked(), 1);
    world.picture(STREAM, USUAL_BYTES, true);
    world.run(Duration::from_secs(3));
    assert_eq!(world.keyframes_asked(), 1);
    assert_eq!(world.row(viewer).keyframe_requests, 1);
}

#[test]
fn a_storm_of_many_viewers_asks_for_two_keyframes_a_second() {
    let mut world = World::new();
    let viewers: Vec<usize> = (0..20).map(|_| world.join_usual()).collect();
    world.play(STREAM, 30, USUAL_BYTES, true);
    world.events.clear();
    for round in 0..100_u8 {
        for viewer in &viewers {
            world.viewers[*viewer].pli();
            world.viewers[*viewer].fir(round);
        }
        world.run(Duration::from_millis(30));
    }
    let asked = world.keyframes_asked();
    assert!((5..=6).contains(&asked), "{asked} keyframes in three seconds");
}

#[test]
fn a_request_within_the_interval_comes_out_after_it() {
    let (mut world, viewer) = watching(Offering::default());
    world.viewers[viewer].pli();
    world.settle();
    let asked = world.now;
    world.run(Duration::from_millis(30));
    world.picture(STREAM, USUAL_BYTES, true);
    world.run(Duration::from_millis(300));
    world.viewers[viewer].pli();
    world.run(asked + KEYFRAME_INTERVAL - Duration::from_millis(5) - world.now);
    assert_eq!(world.keyframes_asked(), 1, "too soon");
    world.run(SWEEP + Duration::from_millis(10));
    assert_eq!(world.keyframes_asked(), 2, "not lost");
    world.run(Duration::from_secs(2));
    assert_eq!(world.keyframes_asked(), 2, "and told once");
}

#[test]
fn a_keyframe_that_comes_by_itself_answers_the_request_that_waits() {
    let (mut world, viewer) = watching(Offering::default());
    world.viewers[viewer].pli();
    world.settle();
    world.run(Duration::from_millis(100));
    world.viewers[viewer].pli();
    world.run(Duration::from_millis(100));
    world.picture(STREAM, USUAL_BYTES, true);
    world.run(Duration::from_secs(2));
    assert_eq!(world.keyframes_asked(), 1);
}

#[test]
fn a_request_while_the_keyframe_may_still_be_on_its_way_asks_for_no_other() {
    let (mut world, viewer) = watching(Offering::default());
    world.viewers[viewer].pli();
    world.settle();
    world.run(Duration::from_millis(600));
    world.picture(STREAM, USUAL_BYTES, true);
    world.run(Duration::from_millis(200));
    world.viewers[viewer].pli();
    world.run(Duration::from_secs(1));
    assert_eq!(world.keyframes_asked(), 1);
    world.viewers[viewer].pli();
    world.run(Duration::from_millis(10));
    assert_eq!(world.keyframes_asked(), 2, "a viewer that still lacks it asks again and is heard");
}

#[test]
fn a_viewer_that_lost_the_picture_is_sent_none_before_the_keyframe_and_the_others_all() {
    let mut world = World::new();
    let (loser, other) = (world.join_usual(), world.join_usual());
    let mut sent = world.play(STREAM, 30, USUAL_BYTES, true);
    world.viewers[loser].pli();
    world.settle();
    let before = world.viewers[loser].video.len();
    sent.extend(world.play(STREAM, 5, USUAL_BYTES, false));
    assert_eq!(world.viewers[loser].video.len(), before, "it could not decode them");
    assert_eq!(world.row(loser).frames_skipped, 5);
    let fresh = world.play(STREAM, 5, USUAL_BYTES, true);
    sent.extend(&fresh);
    assert!(world.pictures_of(loser, STREAM).ends_with(&fresh));
    assert_eq!(world.pictures_of(other, STREAM), sent);
    let numbers = world.viewers[loser].video.windows(2).all(|pair| pair[1].index == pair[0].index + 1);
    assert!(numbers, "what was not sent leaves no gap");
}

#[test]
fn a_request_with_packets_asked_for_gets_the_keyframe_and_not_the_packets() {
    let (mut world, viewer) = watching(Offering::default());
    let (ssrc, lost) = (world.viewers[viewer].answer.video_ssrc, world.viewers[viewer].video[30].sequence);
    let mut compound = Vec::new();
    write_nack(&mut compound, OWN_SSRC, ssrc, &[lost]);
    write_pli(&mut compound, OWN_SSRC, ssrc);
    world.viewers[viewer].rtcp(compound);
    world.settle();
    assert_eq!((world.keyframes_asked(), world.viewers[viewer].repeats.len()), (1, 0));
}

#[test]
fn a_repeated_full_intra_request_counts_once_and_a_new_one_again() {
    let (mut world, viewer) = watching(Offering::default());
    for _ in 0..10 {
        world.viewers[viewer].fir(3);
        world.run(Duration::from_millis(200));
    }
    assert_eq!(world.keyframes_asked(), 1);
    world.viewers[viewer].fir(4);
    world.run(Duration::from_millis(200));
    assert_eq!(world.keyframes_asked(), 2);
}

#[test]
fn requests_for_another_ssrc_are_not_for_us() {
    let (mut world, viewer) = watching(Offering::default());
    let other = world.viewers[viewer].answer.video_ssrc ^ 0x55;
    let (mut pli, mut fir, mut nack) = (Vec::new(), Vec::new(), Vec::new());
    write_pli(&mut pli, OWN_SSRC, other);
    write_fir(&mut fir, OWN_SSRC, &[FirEntry { ssrc: other, request: 1 }]);
    write_nack(&mut nack, OWN_SSRC, other, &[world.viewers[viewer].video[0].sequence]);
    for compound in [pli, fir, nack] {
        world.viewers[viewer].rtcp(compound);
        world.run(Duration::from_secs(1));
    }
    assert_eq!(world.keyframes_asked(), 0);
    assert!(world.viewers[viewer].repeats.is_empty());
    assert_eq!(world.counters().rtcp_malformed, 0);
}

#[test]
fn a_request_concerns_the_viewers_own_stream() {
    let (mut world, here) = watching(Offering::default());
    let there = world.join(Offering::default(), OTHER_STREAM);
    world.play(OTHER_STREAM, 30, USUAL_BYTES, true);
    world.events.clear();
    world.viewers[here].pli();
    world.settle();
    assert_eq!((world.keyframes_asked(), world.count(&Event::KeyframeNeeded(OTHER_STREAM, 0))), (1, 0));
    world.viewers[there].pli();
    world.settle();
    assert_eq!((world.keyframes_asked(), world.count(&Event::KeyframeNeeded(OTHER_STREAM, 0))), (1, 1));
}

// --- repeats ---

#[test]
fn a_lost_packet_comes_again_in_the_repeat_stream_with_its_original_number() {
    let (mut world, viewer) = watching(Offering::default());
    let packets = world.viewers[viewer].video.len();
    // The end of a picture, the middle of one, and the very first packet.
    let lost: Vec<Media> = [packets - 1, 40, 0].iter().map(|at| world.viewers[viewer].video[*at].clone()).collect();
    for media in &lost {
        world.viewers[viewer].nack(&[media.sequence]);
        world.run(Duration::from_millis(1));
    }
    let client = &world.viewers[viewer];
    assert_eq!(client.repeats.len(), lost.len());
    for (repeat, original) in client.repeats.iter().zip(&lost) {
        assert_eq!(repeat.original(), (original.sequence, original.payload.as_slice()));
        assert_eq!((repeat.timestamp, repeat.marker), (original.timestamp, original.marker));
        assert_eq!((repeat.payload_type, Some(repeat.ssrc)), (VP8_RTX, client.answer.rtx_ssrc));
        assert_eq!(repeat.extension(12), original.extension(12), "the capture time is the picture's");
    }
    let numbers: Vec<u64> = client.repeats.iter().map(|repeat| repeat.index).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert_eq!(client.video.len(), packets);
    assert_eq!(world.keyframes_asked(), 0);
}

#[test]
fn without_a_repeat_stream_the_very_same_datagram_comes_again() {
    for offering in [without_rtx(), Offering { transport_cc: false, send_time: true, ..without_rtx() }] {
        let (mut world, viewer) = watching(offering);
        let lost = [world.viewers[viewer].video[40].clone(), world.viewers[viewer].video[8].clone()];
        world.viewers[viewer].nack(&lost.each_ref().map(|media| media.sequence));
        world.run(Duration::from_millis(1));
        assert_eq!(world.viewers[viewer].replayed, lost.map(|media| media.datagram));
    }
}

#[test]
fn a_viewer_that_lost_packets_on_the_way_has_every_picture_in_the_end() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let mut sent = Vec::new();
    let mut missing = Vec::new();
    for at in 0..60_u16 {
        sent.push(world.picture(STREAM, USUAL_BYTES, at == 0));
        // Each fifth packet of this picture is lost: taken out of what has arrived.
        let client = &mut world.viewers[viewer];
        let newest = *sent.last().expect("a picture");
        let lost: Vec<Media> = client.video.extract_if(.., |m| m.timestamp == newest && m.sequence % 5 == 0).collect();
        client.nack(&lost.iter().map(|media| media.sequence).collect::<Vec<_>>());
        missing.extend(lost);
        world.run(PICTURE_INTERVAL);
    }
    let repeats = world.viewers[viewer].repeats.clone();
    assert_eq!(repeats.len(), missing.len());
    let client = &mut world.viewers[viewer];
    client.video.extend(repeats.iter().zip(missing).map(|(repeat, lost)| {
        let (sequence, payload) = repeat.original();
        Media { payload: payload.to_vec(), sequence, index: lost.index, ..repeat.clone() }
    }));
    client.video.sort_by_key(|media| media.index);
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
}

#[test]
fn a_packet_is_not_repeated_before_its_last_repeat_could_have_arrived_nor_without_end() {
    let (mut world, viewer) = watching(Offering::default());
    world.run(Duration::from_secs(1));
    let report = world.viewers[viewer].sender_reports(world.viewers[viewer].answer.video_ssrc).pop().expect("a report");
    world.run(Duration::from_millis(80));
    // Answered at once, thus the round trip is all that has passed since the report of this or the last second.
    let passed = world.clock.ntp(world.now).wrapping_sub(report.ntp);
    let held = (passed >> 16) as u32 - 65_536 * 80 / 1_000;
    world.viewers[viewer].receiver_report(ReportBlock {
        last_sender_report: (report.ntp >> 16) as u32,
        delay_since_last_sender_report: held,
        ..ReportBlock::default()
    });
    world.settle();
    let rtt_ms = world.row(viewer).rtt_ms;
    assert!((79.0..=81.0).contains(&rtt_ms), "{rtt_ms}");
    let lost = world.viewers[viewer].video.last().expect("a packet").sequence;
    let start = world.now;
    while world.now < start + Duration::from_millis(790) {
        world.viewers[viewer].nack(&[lost]);
        world.run(Duration::from_millis(10));
    }
    let times: Vec<Duration> = world.viewers[viewer].repeats.iter().map(|repeat| repeat.at - start).collect();
    assert_eq!(times.len(), 4, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(79)), "{times:?}");
    assert!(world.row(viewer).repeats_refused > 60);
}

#[test]
fn a_storm_of_requests_is_answered_within_the_budget_and_what_is_beyond_it_by_a_keyframe() {
    let (mut world, viewer) = watching(Offering::default());
    let mut asked = 0;
    let mut keyframes = 0;
    for _ in 0..60 {
        let wanted = world.keyframes_asked();
        world.play(STREAM, 1, USUAL_BYTES, wanted > keyframes);
        keyframes = wanted;
        let recent: Vec<u16> = world.viewers[viewer].video.iter().rev().take(200).map(|media| media.sequence).collect();
        let recent: Vec<u16> = recent.into_iter().rev().collect();
        world.viewers[viewer].nack(&recent[..100]);
        world.viewers[viewer].nack(&recent[100..]);
        world.settle();
        asked += recent.len();
    }
    let repeats = world.viewers[viewer].repeats.len();
    // The first picture's share finds the savings full.
    let packets = world.row(viewer).packets_sent as usize - 9;
    assert!(asked > 10_000);
    assert!(repeats <= SAVED_REPEATS + packets * 3 / 10, "{repeats} repeats for {packets} packets");
    assert!(repeats > 2 * SAVED_REPEATS, "what the budget allows is repeated: {repeats}");
    assert!((1..=4).contains(&world.keyframes_asked()), "{} keyframes in two seconds", world.keyframes_asked());
    assert_eq!(world.row(viewer).repeats_refused as usize, asked - repeats);
}

#[test]
fn a_packet_that_is_not_repeated_any_more_costs_a_keyframe_before_the_viewer_asks_for_one() {
    let (mut world, viewer) = watching(Offering::default());
    world.play(STREAM, 20, USUAL_BYTES, false);
    let lost = world.viewers[viewer].video.last().expect("packets").sequence;
    for round in 1..=5 {
        assert_eq!(world.keyframes_asked(), 0, "asked for {round} times");
        world.viewers[viewer].nack(&[lost]);
        world.settle();
        world.play(STREAM, 4, USUAL_BYTES, false);
    }
    assert_eq!(world.viewers[viewer].repeats.len(), 4);
    assert_eq!(world.keyframes_asked(), 1);
    let sent = world.viewers[viewer].video.len();
    world.play(STREAM, 4, USUAL_BYTES, true);
    assert!(world.viewers[viewer].video.len() > sent);
}

#[test]
fn one_request_asks_for_no_more_than_a_keyframe_would_cost() {
    let mut world = World::new();
    let viewer = world.join_usual();
    world.play(STREAM, 60, USUAL_BYTES, true);
    let all: Vec<u16> = world.viewers[viewer].video.iter().map(|media| media.sequence).collect();
    let mut compound = Vec::new();
    let ssrc = world.viewers[viewer].answer.video_ssrc;
    all.chunks(100).for_each(|part| write_nack(&mut compound, OWN_SSRC, ssrc, part));
    world.viewers[viewer].rtcp(compound);
    world.settle();
    assert_eq!(world.viewers[viewer].repeats.len(), SAVED_REPEATS);
    assert_eq!(world.row(viewer).repeats_refused as usize, 256 - SAVED_REPEATS, "the others were not looked at");
}

#[test]
fn packets_of_the_newest_keyframe_are_repeated_before_those_that_it_makes_needless() {
    let (mut world, viewer) = watching(Offering::default());
    let older: Vec<u16> =
        world.viewers[viewer].video.iter().rev().take(100).map(|media| media.sequence).rev().collect();
    let keyframe = world.picture(STREAM, USUAL_BYTES, true);
    let client = &mut world.viewers[viewer];
    let needed: Vec<u16> = client.video.iter().filter(|m| m.timestamp == keyframe).map(|m| m.sequence).collect();
    client.nack(&[older, needed.clone()].concat());
    world.settle();
    let repeated: Vec<u16> = world.viewers[viewer].repeats.iter().map(|repeat| repeat.original().0).collect();
    assert_eq!(repeated[..needed.len()], needed);
    assert_eq!(repeated.len(), SAVED_REPEATS, "the others as far as the budget goes");
}

#[test]
fn requests_for_packets_that_nobody_has_are_ignored_and_cost_nothing() {
    let (mut world, viewer) = watching(Offering::default());
    let first = world.viewers[viewer].video[0].sequence;
    world.play(STREAM, 90, USUAL_BYTES, true);
    let newest = world.viewers[viewer].video.last().expect("packets").clone();
    let never_sent: Vec<u16> = (1..=120).map(|ahead| newest.sequence.wrapping_add(ahead * 50)).collect();
    let before_the_first: Vec<u16> = (1..=120).map(|back| first.wrapping_sub(back)).collect();
    let evicted: Vec<u16> = (0..120).map(|at| first.wrapping_add(at)).collect();
    for (case, sequences) in [("never sent", never_sent), ("before the first", before_the_first), ("evicted", evicted)]
    {
        world.viewers[viewer].nack(&sequences);
        world.run(Duration::from_millis(100));
        assert!(world.viewers[viewer].repeats.is_empty(), "{case}");
    }
    let lost: Vec<u16> =
        world.viewers[viewer].video.iter().rev().take(SAVED_REPEATS).map(|media| media.sequence).collect();
    world.viewers[viewer].nack(&lost.into_iter().rev().collect::<Vec<_>>());
    world.settle();
    assert_eq!(world.viewers[viewer].repeats.len(), SAVED_REPEATS, "what can be repeated is");
}

#[test]
fn packets_of_the_last_two_seconds_can_be_repeated() {
    let mut world = World::new();
    let viewer = world.join_usual();
    world.play(STREAM, 120, USUAL_BYTES, true);
    let end = world.now;
    let at = |age: Duration| {
        let recent = world.viewers[viewer].video.iter().find(|media| media.at + age >= end);
        recent.expect("a packet").clone()
    };
    let (recent, old) = (at(Duration::from_millis(1_900)), at(Duration::from_millis(3_500)));
    world.viewers[viewer].nack(&[old.sequence]);
    world.viewers[viewer].nack(&[recent.sequence]);
    world.settle();
    let repeats: Vec<u16> = world.viewers[viewer].repeats.iter().map(|repeat| repeat.original().0).collect();
    assert_eq!(repeats, [recent.sequence]);
}

#[test]
fn a_repeat_that_found_no_room_is_sent_when_it_is_asked_for_again() {
    let (mut world, viewer) = watching(Offering::default());
    let (path, lost) = (world.viewers[viewer].path, world.viewers[viewer].video[20].clone());
    world.wire.full.insert(path);
    world.viewers[viewer].nack(&[lost.sequence]);
    world.settle();
    world.wire.full.clear();
    world.run(Duration::from_millis(25));
    world.viewers[viewer].nack(&[lost.sequence]);
    world.settle();
    let client = &world.viewers[viewer];
    assert_eq!(client.repeats.len(), 1);
    assert_eq!(client.repeats[0].original(), (lost.sequence, lost.payload.as_slice()));
}

#[test]
fn a_viewer_that_is_away_is_repeated_nothing() {
    let (mut world, viewer) = watching(Offering::default());
    let lost = world.viewers[viewer].video[20].sequence;
    world.viewers[viewer].nack(&[lost]);
    let (path, nack) = world.viewers[viewer].take_outgoing().remove(0);
    world.viewers[viewer].online = false;
    world.run(Duration::from_secs(10));
    world.viewers[viewer].unheard.clear();
    let mut replayed = nack.clone();
    *replayed.last_mut().expect("bytes") ^= 1;
    world.deliver(path, &replayed);
    world.settle();
    assert!(world.viewers[viewer].unheard.is_empty());
}
