//! Reports each way: what the edge says of what it sent, what a viewer says of what it got, and the figures of both.

mod support;

use std::time::Duration;

use farstage_fanout::statistics::ROW_BYTES;
use farstage_rtp::rtcp::{ReportBlock, Rtcp, read_compound};
use support::world::STREAM;
use support::{Offering, World};

const USUAL_BYTES: usize = 10_000;

#[test]
fn each_second_the_edge_reports_what_it_sent_and_when() {
    let mut world = World::new();
    let viewer = world.join_usual();
    world.play(STREAM, 300, USUAL_BYTES, true);
    let client = &world.viewers[viewer];
    let reports = client.sender_reports(client.answer.video_ssrc);
    assert!((9..=11).contains(&reports.len()), "{} reports in ten seconds", reports.len());
    for report in &reports {
        // Both clocks of a report name one moment: that of the picture sent last, and what has passed since.
        let report_at = (0..10_000_000_u64).step_by(100).map(|us| world.start + Duration::from_micros(us));
        let report_at =
            report_at.into_iter().find(|at| world.clock.ntp(*at) >= report.ntp).expect("a moment of the test");
        let before: Vec<_> = client.video.iter().filter(|media| media.at <= report_at).collect();
        let newest = before.last().expect("packets before the report");
        let since = report_at - newest.at;
        let expected = newest.timestamp.wrapping_add((since.as_secs_f64() * 90_000.0) as u32);
        assert!(report.rtp_timestamp.abs_diff(expected) < 100, "{} {expected}", report.rtp_timestamp);
        assert_eq!(report.packet_count as usize, before.len());
        let octets: usize = before.iter().map(|media| media.payload.len()).sum();
        assert_eq!(report.octet_count as usize, octets);
    }
}

#[test]
fn reports_are_compounds_with_a_name() {
    let mut world = World::new();
    let viewer = world.join_usual();
    world.play(STREAM, 90, USUAL_BYTES, true);
    for report in &world.viewers[viewer].reports {
        let packets: Vec<Rtcp<'_>> = read_compound(report).map(|packet| packet.expect("well-formed")).collect();
        assert!(matches!(packets.first(), Some(Rtcp::SenderReport(_))));
        assert!(matches!(packets.last(), Some(Rtcp::Sdes(_))));
    }
}

#[test]
fn nothing_is_reported_of_what_was_not_sent() {
    let mut world = World::new();
    let viewer = world.join(Offering { audio: Some("sendrecv"), ..Offering::default() }, STREAM);
    world.run(Duration::from_secs(5));
    assert!(world.viewers[viewer].reports.is_empty());
}

#[test]
fn reports_of_many_viewers_do_not_leave_at_one_time() {
    let mut world = World::new();
    let mut times = Vec::new();
    for at in 0..10 {
        world.seed = 97 * at;
        world.join_usual();
    }
    world.play(STREAM, 1, USUAL_BYTES, true);
    for _ in 0..20 {
        let before: usize = world.viewers.iter().map(|viewer| viewer.reports.len()).sum();
        world.run(Duration::from_millis(50));
        let after: usize = world.viewers.iter().map(|viewer| viewer.reports.len()).sum();
        times.push(after - before);
    }
    assert!(times.iter().all(|reports| *reports <= 2), "{times:?}");
    assert!(times.iter().sum::<usize>() >= 9);
}

#[test]
fn a_viewers_report_gives_round_trip_loss_and_jitter() {
    let mut world = World::new();
    let viewer = world.join_usual();
    world.play(STREAM, 60, USUAL_BYTES, true);
    let row = world.row(viewer);
    assert!(row.rtt_ms.is_nan() && row.loss.is_nan() && row.jitter_ms.is_nan() && row.reports == 0);
    let report = world.viewers[viewer].sender_reports(world.viewers[viewer].answer.video_ssrc).pop().expect("a report");
    let held = Duration::from_millis(250);
    let received = world.start + ntp_difference(&world, report.ntp);
    world.run(received + held + Duration::from_millis(40) - world.now.min(received));
    let passed = world.now - received;
    world.viewers[viewer].receiver_report(ReportBlock {
        fraction_lost: 64,
        jitter: 900,
        last_sender_report: (report.ntp >> 16) as u32,
        delay_since_last_sender_report: ((passed - Duration::from_millis(40)).as_micros() * 65_536 / 1_000_000) as u32,
        ..ReportBlock::default()
    });
    world.settle();
    let row = world.row(viewer);
    assert!((39.0..=41.0).contains(&row.rtt_ms), "{}", row.rtt_ms);
    assert_eq!((row.loss, row.reports), (0.25, 1));
    assert!((row.jitter_ms - 10.0).abs() < 0.1, "{}", row.jitter_ms);
}

/// Time from the start to an NTP timestamp.
fn ntp_difference(world: &World, ntp: u64) -> Duration {
    let difference = ntp - world.clock.ntp(world.start);
    Duration::from_secs_f64(difference as f64 / (1_u64 << 32) as f64)
}

#[test]
fn a_report_on_another_ssrc_or_with_impossible_times_is_not_believed() {
    let mut world = World::new();
    let viewer = world.join_usual();
    world.play(STREAM, 60, USUAL_BYTES, true);
    let mut out = Vec::new();
    let other = ReportBlock { ssrc: 99, fraction_lost: 255, ..ReportBlock::default() };
    farstage_rtp::rtcp::write_receiver_report(&mut out, 1, &[other]);
    world.viewers[viewer].rtcp(out);
    world.settle();
    assert_eq!(world.row(viewer).reports, 0);
    world.viewers[viewer].receiver_report(ReportBlock {
        last_sender_report: 77,
        delay_since_last_sender_report: u32::MAX,
        ..ReportBlock::default()
    });
    world.settle();
    let row = world.row(viewer);
    assert!(row.reports == 1 && row.rtt_ms.is_nan());
}

#[test]
fn a_row_is_written_in_the_order_and_size_that_it_is_read_in() {
    let mut world = World::new();
    let viewer = world.join_usual();
    world.play(STREAM, 30, USUAL_BYTES, true);
    world.viewers[viewer].receiver_report(ReportBlock { fraction_lost: 128, jitter: 1_800, ..ReportBlock::default() });
    world.viewers[viewer].remb(1_048_576);
    world.settle();
    let row = world.row(viewer);
    let mut bytes = Vec::new();
    row.write(&mut bytes);
    assert_eq!(bytes.len(), ROW_BYTES);
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let short = |at: usize| f32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    assert_eq!(word(0), 1_000);
    assert!(short(8).is_nan() && short(12) == 20.0 && short(16) == 0.5);
    assert_eq!((word(20), f64::from_bits(word(28)), f64::from_bits(word(36)).is_nan()), (1, 1_048_576.0, true));
    let counters: Vec<u64> = (0..5).map(|at| word(44 + 8 * at)).collect();
    let expected = [row.sent_bytes, row.packets_sent, row.frames_skipped, row.keyframe_requests, row.repeats_refused];
    assert_eq!(counters, expected);
    assert_eq!(row.packets_sent as usize, world.viewers[viewer].video.len());
}

#[test]
fn sent_bytes_are_those_of_the_stream() {
    let mut world = World::new();
    let viewer = world.join_usual();
    world.play(STREAM, 30, USUAL_BYTES, true);
    let lost = world.viewers[viewer].video[0].sequence;
    world.viewers[viewer].nack(&[lost]);
    world.settle();
    let arrived: usize = world.viewers[viewer].video.iter().map(|media| media.datagram.len()).sum();
    assert_eq!(world.row(viewer).sent_bytes as usize, arrived);
}

#[test]
fn only_connected_viewers_have_rows() {
    let mut world = World::new();
    let viewer = world.admit(Offering::default(), STREAM);
    let (path, check) = (world.viewers[viewer].path, world.viewers[viewer].check_request(true));
    world.poke(path, &check);
    assert_eq!(world.rows(), []);
    assert!(!world.shards[0].take_changed());
    world.connect(viewer);
    assert_eq!(world.rows().len(), 1);
    assert!(world.shards[0].take_changed() && !world.shards[0].take_changed());
}
