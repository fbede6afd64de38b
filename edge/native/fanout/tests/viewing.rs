//! What a viewer gets of its stream: each picture once, whole and in order, from where it can start.

mod support;

use std::time::Duration;

use farstage_fanout::events::Event;
use farstage_fanout::stream::MAX_PAYLOAD_BYTES;
use farstage_rtp::packetize::Codec;
use support::offering::{CAPTURE_TIME_ID, PLAYOUT_DELAY_ID, SEND_TIME_ID, VP8};
use support::world::{PICTURE_INTERVAL, STREAM};
use support::{Media, Offering, World};

const OTHER_STREAM: u64 = 8;
/// A picture of this many bytes takes nine packets.
const USUAL_BYTES: usize = 10_000;

fn is_continuous(numbers: impl Iterator<Item = u16>) -> bool {
    let numbers: Vec<u16> = numbers.collect();
    numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1))
}

#[test]
fn a_viewer_connects_and_gets_the_pictures_of_its_stream() {
    let mut world = World::new();
    let viewer = world.join_usual();
    assert_eq!(world.count(&Event::Connected(1_000)), 1);
    let sent = world.play(STREAM, 90, USUAL_BYTES, true);
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
    assert_eq!(world.viewers[viewer].undecryptable, 0);
    assert_eq!(world.row(viewer).packets_sent as usize, world.viewers[viewer].video.len());
    assert_eq!(world.row(viewer).frames_skipped, 0);
}

#[test]
fn packets_are_numbered_without_gap_and_marked_where_a_picture_ends() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let sent = world.play(STREAM, 20, USUAL_BYTES, true);
    let viewer = &world.viewers[viewer];
    assert!(is_continuous(viewer.video.iter().map(|media| media.sequence)));
    for (timestamp, packets) in sent.iter().zip(viewer.video.chunk_by(|one, next| one.timestamp == next.timestamp)) {
        assert!(packets.iter().all(|media| media.timestamp == *timestamp));
        let (last, before) = packets.split_last().expect("a picture has packets");
        assert!(last.marker && before.iter().all(|media| !media.marker));
    }
    assert!(viewer.video.iter().all(|media| media.payload_type == VP8 && media.ssrc == viewer.answer.video_ssrc));
}

#[test]
fn packets_of_a_picture_have_equal_payloads_but_for_the_last() {
    let mut world = World::new();
    let viewer = world.join_usual();
    world.picture(STREAM, USUAL_BYTES, true);
    let lengths: Vec<usize> = world.viewers[viewer].video.iter().map(|media| media.payload.len()).collect();
    let (last, before) = lengths.split_last().expect("a picture has packets");
    assert!(before.iter().all(|length| length == &before[0] && length >= last && *length <= MAX_PAYLOAD_BYTES));
}

#[test]
fn transport_wide_numbers_run_through_media_and_repeats_without_gap() {
    let mut world = World::new();
    let viewer = world.join_usual();
    for _ in 0..10 {
        world.play(STREAM, 3, USUAL_BYTES, true);
        let lost = world.viewers[viewer].video.last().expect("a packet").sequence;
        world.viewers[viewer].nack(&[lost]);
        world.settle();
    }
    let viewer = &world.viewers[viewer];
    assert_eq!(viewer.repeats.len(), 10);
    let numbers = viewer.arrivals.iter().map(|(number, _)| *number);
    assert_eq!(numbers.len(), viewer.video.len() + viewer.repeats.len());
    assert!(is_continuous(numbers));
}

#[test]
fn each_packet_states_the_configured_playout_delay_and_the_time_of_capture() {
    let mut world = World::new();
    // 20 ms at least and 300 ms at most, in units of 10 ms.
    world.playout_delay = [0x00, 0x20, 0x1E];
    let viewer = world.join_usual();
    world.run(Duration::from_millis(750));
    let capture = world.clock.ntp(world.now).to_be_bytes();
    world.picture(STREAM, USUAL_BYTES, true);
    let media = &world.viewers[viewer].video;
    assert!(media.iter().all(|media| media.extension(PLAYOUT_DELAY_ID) == Some(&[0x00, 0x20, 0x1E])));
    assert!(media.iter().all(|media| media.extension(CAPTURE_TIME_ID) == Some(&capture)));
    let seconds = u32::from_be_bytes([capture[0], capture[1], capture[2], capture[3]]);
    let fraction = u32::from_be_bytes([capture[4], capture[5], capture[6], capture[7]]);
    assert_eq!(u64::from(seconds), 1_795_564_800 + 2_208_988_800, "seconds since 1900");
    assert_eq!(fraction >> 30, 3, "three quarters of a second");
}

#[test]
fn extensions_that_were_not_offered_are_not_written() {
    let mut world = World::new();
    let bare = Offering { transport_cc: false, playout_delay: false, capture_time: false, ..Offering::default() };
    let plain = world.join(bare.clone(), STREAM);
    let delayed = world.join(Offering { playout_delay: true, ..bare }, STREAM);
    world.picture(STREAM, USUAL_BYTES, true);
    assert!(world.viewers[plain].video.iter().all(|media| media.extensions.is_empty()));
    let only_delay = |media: &Media| media.extensions == [(PLAYOUT_DELAY_ID, vec![0, 0, 10])];
    assert!(world.viewers[delayed].video.iter().all(only_delay));
    assert_eq!(world.pictures_of(plain, STREAM).len(), 1);
}

#[test]
fn packets_state_when_they_are_sent_where_nothing_better_is_offered() {
    let mut world = World::new();
    let offering = Offering { transport_cc: false, send_time: true, capture_time: false, ..Offering::default() };
    let viewer = world.join(offering, STREAM);
    let both = world.join(Offering { send_time: true, ..Offering::default() }, STREAM);
    world.run(Duration::from_millis(62_250));
    world.picture(STREAM, USUAL_BYTES, true);
    // Seconds modulo 64 in six bits and their fraction in eighteen; the clock began at a multiple of 64.
    let expected = &((62_u32 << 18) + (1 << 16)).to_be_bytes()[1..];
    assert!(world.viewers[viewer].video.iter().all(|media| media.extension(SEND_TIME_ID) == Some(expected)));
    assert!(world.viewers[both].video.iter().all(|media| media.extension(SEND_TIME_ID).is_none()));
    assert_eq!(world.pictures_of(viewer, STREAM).len(), 1);
}

#[test]
fn every_viewer_has_its_own_numbers_and_keys_around_the_same_payloads() {
    let mut world = World::new();
    let (one, other) = (world.join_usual(), world.join_usual());
    world.play(STREAM, 5, USUAL_BYTES, true);
    let (one, other) = (&world.viewers[one], &world.viewers[other]);
    assert_eq!(one.video.len(), other.video.len());
    for (own, theirs) in one.video.iter().zip(&other.video) {
        assert_eq!((own.timestamp, own.marker, &own.payload), (theirs.timestamp, theirs.marker, &theirs.payload));
        assert_ne!(own.ssrc, theirs.ssrc);
        assert_ne!(own.datagram[own.datagram.len() - 16..], theirs.datagram[theirs.datagram.len() - 16..]);
    }
}

#[test]
fn a_stream_goes_to_its_own_viewers_alone() {
    let mut world = World::new();
    let here = world.join_usual();
    let there = world.join(Offering::default(), OTHER_STREAM);
    let sent_here = world.play(STREAM, 5, USUAL_BYTES, true);
    let sent_there = world.play(OTHER_STREAM, 3, USUAL_BYTES, true);
    assert_eq!(world.pictures_of(here, STREAM), sent_here);
    assert_eq!(world.pictures_of(there, OTHER_STREAM), sent_there);
    assert_eq!(world.viewers[there].video.len(), 3 * 9);
}

#[test]
fn numbers_go_on_where_sixteen_bits_end() {
    let mut world = World::new();
    world.seed = 0x7FFF;
    world.start_bps = 20_000_000;
    let viewer = world.join_usual();
    assert!(world.viewers[viewer].video.is_empty());
    // Repeats roll over as well, only much later; a packet after the rollover is repeated at the end.
    let sent = world.play(STREAM, 800, 47_000, true);
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
    let last = world.viewers[viewer].video.last().expect("packets").clone();
    assert!(last.index > 1 << 16, "{}", last.index);
    world.viewers[viewer].nack(&[last.sequence]);
    world.settle();
    assert_eq!(world.viewers[viewer].repeats[0].original(), (last.sequence, last.payload.as_slice()));
}

#[test]
fn without_a_repeat_stream_a_packet_after_the_rollover_is_repeated_as_it_was() {
    let mut world = World::new();
    world.seed = 0x7FFF;
    world.start_bps = 20_000_000;
    let viewer = world.join(Offering { rtx: false, ..Offering::default() }, STREAM);
    world.play(STREAM, 800, 47_000, true);
    let last = world.viewers[viewer].video.last().expect("packets").clone();
    assert!(last.index > 1 << 16);
    world.viewers[viewer].nack(&[last.sequence]);
    world.settle();
    assert_eq!(world.viewers[viewer].replayed, [last.datagram]);
}

#[test]
fn a_late_joiner_starts_from_the_kept_group_at_once_and_costs_the_others_nothing() {
    let mut world = World::new();
    let early = world.join_usual();
    let mut sent = world.play(STREAM, 30, USUAL_BYTES, true);
    let asked = world.keyframes_asked();
    let (packets_before, bytes_before) = (world.viewers[early].video.len(), world.row(early).sent_bytes);
    let late = world.join_usual();
    assert_eq!(world.pictures_of(late, STREAM).first(), sent.first(), "the keyframe is there with the connection");
    assert_eq!(world.viewers[early].video.len(), packets_before);
    assert_eq!(world.row(early).sent_bytes, bytes_before);
    sent.extend(world.play(STREAM, 30, USUAL_BYTES, false));
    assert_eq!(world.pictures_of(late, STREAM), sent, "it has the group from its keyframe on, and catches up");
    assert_eq!(world.pictures_of(early, STREAM), sent);
    assert_eq!(world.keyframes_asked(), asked);
}

#[test]
fn a_joiner_after_an_old_group_asks_for_one_keyframe_and_starts_there() {
    let mut world = World::new();
    let early = world.join_usual();
    world.play(STREAM, 90, USUAL_BYTES, true);
    let asked = world.keyframes_asked();
    let late = world.join_usual();
    assert_eq!(world.keyframes_asked(), asked + 1);
    world.play(STREAM, 6, USUAL_BYTES, false);
    assert!(world.viewers[late].video.is_empty(), "nothing that it cannot decode is sent");
    let sent = world.play(STREAM, 10, USUAL_BYTES, true);
    assert_eq!(world.pictures_of(late, STREAM), sent);
    assert_eq!(world.keyframes_asked(), asked + 1);
    assert_eq!(world.pictures_of(early, STREAM).len(), 90 + 6 + 10);
    assert!(world.row(late).frames_skipped >= 6);
}

#[test]
fn a_group_too_large_to_be_sent_at_once_is_not_where_a_joiner_starts() {
    let mut world = World::new();
    world.join_usual();
    world.play(STREAM, 20, 60_000, true);
    let asked = world.keyframes_asked();
    let late = world.join_usual();
    assert!(world.viewers[late].video.is_empty());
    assert_eq!(world.keyframes_asked(), asked + 1);
}

#[test]
fn a_joiner_of_a_stream_without_pictures_asks_for_a_keyframe_and_gets_the_first() {
    let mut world = World::new();
    let viewer = world.join_usual();
    assert_eq!(world.keyframes_asked(), 1);
    let sent = world.play(STREAM, 3, USUAL_BYTES, true);
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
}

#[test]
fn a_joiner_of_a_resting_stream_gets_the_last_picture_if_it_is_a_keyframe() {
    let mut world = World::new();
    world.join_usual();
    let sent = world.picture(STREAM, USUAL_BYTES, true);
    world.run(Duration::from_secs(30));
    let asked = world.keyframes_asked();
    let late = world.join_usual();
    assert_eq!(world.pictures_of(late, STREAM), [sent]);
    assert_eq!(world.keyframes_asked(), asked);
}

#[test]
fn a_joiner_in_the_middle_of_a_resting_group_waits_for_the_keyframe_it_asks_for() {
    let mut world = World::new();
    world.join_usual();
    world.play(STREAM, 2, USUAL_BYTES, true);
    world.run(Duration::from_secs(30));
    let asked = world.keyframes_asked();
    let late = world.join_usual();
    assert!(world.viewers[late].video.is_empty());
    assert_eq!(world.keyframes_asked(), asked + 1);
}

#[test]
fn a_picture_that_left_is_told_once_and_only_if_somebody_watches() {
    let mut world = World::new();
    let unwatched = world.picture(STREAM, USUAL_BYTES, true);
    assert_eq!(world.count(&Event::PictureLeft(STREAM, unwatched)), 0);
    world.join_usual();
    world.join_usual();
    for timestamp in world.play(STREAM, 5, USUAL_BYTES, true) {
        assert_eq!(world.count(&Event::PictureLeft(STREAM, timestamp)), 1);
    }
}

#[test]
fn one_datagram_run_carries_a_whole_picture() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let path = world.viewers[viewer].path;
    world.wire.runs.clear();
    world.picture(STREAM, USUAL_BYTES, true);
    let runs: Vec<_> = world.wire.runs.iter().filter(|run| run.path == path).collect();
    assert_eq!(runs.len(), 1, "nine packets leave in one call");
    assert!(runs[0].bytes.div_ceil(runs[0].segment) == 9);
}

#[test]
fn a_viewer_that_is_closed_gets_nothing_more() {
    let mut world = World::new();
    let (closed, other) = (world.join_usual(), world.join_usual());
    world.play(STREAM, 3, USUAL_BYTES, true);
    world.command(&farstage_fanout::events::Command::Close { session: 1_000, farewell: true });
    world.settle();
    assert!(world.viewers[closed].closed, "it was told");
    let before = world.viewers[closed].video.len();
    world.play(STREAM, 3, USUAL_BYTES, false);
    assert_eq!(world.viewers[closed].video.len(), before);
    assert_eq!(world.pictures_of(other, STREAM).len(), 6);
    assert!(!world.is_gone(closed), "who closes a viewer needs no event");
    assert_eq!(world.rows().len(), 1);
}

#[test]
fn a_viewer_that_is_closed_without_farewell_is_not_told() {
    let mut world = World::new();
    let viewer = world.join_usual();
    world.command(&farstage_fanout::events::Command::Close { session: 1_000, farewell: false });
    world.run(Duration::from_secs(1));
    assert!(!world.viewers[viewer].closed && world.rows().is_empty());
}

#[test]
fn av1_and_h264_pictures_keep_their_marker_and_order() {
    use std::sync::Arc;

    use farstage_fanout::events::Command;
    use farstage_fanout::stream::PacketizedFrame;
    use farstage_rtp::depacketize::depacketize;

    let mut slices = vec![0, 0, 0, 1, 0x65];
    slices.extend(vec![0xA5; 3_000]);
    slices.extend([0, 0, 0, 1, 0x65]);
    slices.extend(vec![0x5A; 5_000]);
    let mut units = vec![0x32, 0x80 | (3_000 & 0x7F) as u8, (3_000 >> 7) as u8];
    units.extend(vec![0x11; 3_000]);
    for (codec, picture) in [(Codec::H264, slices), (Codec::Av1, units)] {
        let mut world = World::new();
        let viewer = world.join_usual();
        let frame = PacketizedFrame::new(codec, &picture, true, 90_000, 0, world.now).expect("a picture");
        let packets = frame.packets();
        world.command(&Command::Frame(STREAM, Arc::new(frame)));
        world.run(PICTURE_INTERVAL);
        let media = &world.viewers[viewer].video;
        assert!(media.len() == packets && is_continuous(media.iter().map(|media| media.sequence)));
        let markers = media.iter().filter(|media| media.marker).count();
        assert!(markers == 1 && media[packets - 1].marker);
        let mut whole = Vec::new();
        depacketize(codec, media.iter().map(|media| media.payload.as_slice()), &mut whole).expect("a whole picture");
        assert_eq!(whole, picture);
    }
}
