//! A viewer may say anything: the estimator neither panics, nor leaves its limits, nor believes in rates far above
//! what was truly sent.

use farstage_congestion::{BandwidthEstimator, Limits};
use farstage_rtp::rtcp::{Rtcp, read_compound, write_transport_feedback};
use proptest::prelude::*;

const LIMITS: Limits = Limits { min_bps: 50_000, start_bps: 500_000, max_bps: 80_000_000 };
const FRAME_US: u64 = 20_000;

fn feed(estimator: &mut BandwidthEstimator, datagram: &[u8], now_us: u64) {
    for packet in read_compound(datagram).flatten() {
        if let Rtcp::TransportFeedback(feedback) = packet {
            estimator.feedback(&feedback, now_us);
        }
    }
}

fn report(base: u16, arrivals_us: &[Option<i64>]) -> Vec<u8> {
    let mut datagram = Vec::new();
    write_transport_feedback(&mut datagram, 1, 2, base, 0, arrivals_us);
    datagram
}

/// Sends at a fixed rate for a minute; `lie` makes up when a frame's packets arrived. Returns the highest estimate.
fn highest_estimate(packets: u16, lie: impl Fn(u64, u16) -> Option<i64>) -> u64 {
    let mut estimator = BandwidthEstimator::new(LIMITS, 0);
    let mut highest = 0;
    let mut sequence = 0_u16;
    for frame in 0..3_000 {
        let now_us = frame * FRAME_US;
        estimator.sent(sequence, packets, 1_000, now_us);
        let arrivals: Vec<Option<i64>> = (0..packets).map(|packet| lie(frame, packet)).collect();
        feed(&mut estimator, &report(sequence, &arrivals), now_us + 10_000);
        sequence = sequence.wrapping_add(packets);
        highest = highest.max(estimator.estimate_bps());
    }
    highest
}

#[test]
fn lies_about_arrivals_raise_the_estimate_by_a_bounded_multiple() {
    let packets = 5;
    let sent_bps = u64::from(packets) * 1_000 * 8 * (1_000_000 / FRAME_US);
    let honest = highest_estimate(packets, |frame, packet| Some((frame * FRAME_US + u64::from(packet) * 250) as i64));
    let compressed = highest_estimate(packets, |frame, _| Some((frame * 1_000) as i64));
    let frozen = highest_estimate(packets, |_, _| Some(5_000_000));
    let backwards = highest_estimate(packets, |frame, _| Some(100_000_000 - (frame * 3_000) as i64));
    let jumping = highest_estimate(packets, |frame, packet| {
        Some(((frame * 7_919 + u64::from(packet) * 104_729) % 4_000_000) as i64)
    });
    assert!(honest >= sent_bps, "{honest}");
    for (name, estimate) in [
        ("honest", honest),
        ("compressed", compressed),
        ("frozen", frozen),
        ("backwards", backwards),
        ("jumping", jumping),
    ] {
        println!("{name}: {:.2} of what was sent", estimate as f64 / sent_bps as f64);
        assert!(estimate as f64 <= 2.4 * sent_bps as f64 + 10_000.0, "{name}: {estimate}");
    }
}

#[test]
fn packets_never_sent_and_repeated_reports_count_for_nothing() {
    let mut estimator = BandwidthEstimator::new(LIMITS, 0);
    let before = estimator.estimate_bps();
    let arrivals: Vec<Option<i64>> = (0..400).map(|packet| Some(packet * 250)).collect();
    for round in 0..1_000 {
        feed(&mut estimator, &report((round * 400) as u16, &arrivals), round * 10_000);
    }
    assert_eq!(estimator.estimate_bps(), before);
    estimator.sent(0, 10, 1_000, 10_000_000);
    for round in 0..1_000 {
        feed(&mut estimator, &report(0, &arrivals[..10]), 10_000_000 + round * 10_000);
    }
    assert_eq!(estimator.estimate_bps(), before);
}

#[test]
fn memory_is_small_and_fixed() {
    assert!(size_of::<BandwidthEstimator>() <= 1_200, "{}", size_of::<BandwidthEstimator>());
}

/// What may happen to an estimator.
#[derive(Clone, Debug)]
enum Event {
    Sent { first: u16, packets: u16, bytes_each: u32 },
    Probed { first: u16, packets: u16, bytes_each: u32 },
    Feedback { base: u16, arrivals_us: Vec<Option<i64>> },
    Bytes(Vec<u8>),
    Report { loss: f64, rtt_us: Option<u64> },
    Remb(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    let near = || prop_oneof![0_u16..50, any::<u16>()];
    let packets = || prop_oneof![8 => 0_u16..40, 1 => any::<u16>()];
    let bytes = || prop_oneof![8 => 0_u32..1_500, 1 => any::<u32>()];
    let arrival = prop_oneof![4 => 0_i64..100_000, 1 => -4_000_000_i64..4_000_000];
    let arrivals = prop::collection::vec(prop::option::of(arrival), 1..60);
    let body = prop::collection::vec(any::<[u8; 4]>(), 4..20);
    prop_oneof![
        (near(), packets(), bytes()).prop_map(|(first, packets, bytes_each)| Event::Sent {
            first,
            packets,
            bytes_each
        }),
        (near(), packets(), bytes()).prop_map(|(first, packets, bytes_each)| Event::Probed {
            first,
            packets,
            bytes_each
        }),
        (near(), arrivals).prop_map(|(base, arrivals_us)| Event::Feedback { base, arrivals_us }),
        body.prop_map(|words| {
            let header = [0x8F, 205, 0, words.len() as u8];
            Event::Bytes(header.into_iter().chain(words.into_iter().flatten()).collect())
        }),
        (any::<f64>(), any::<Option<u64>>()).prop_map(|(loss, rtt_us)| Event::Report { loss, rtt_us }),
        any::<u64>().prop_map(Event::Remb),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_estimate_stays_within_its_limits(
        events in prop::collection::vec((any_event(), prop_oneof![8 => 0_u64..200_000, 1 => any::<u64>()]), 1..150),
    ) {
        let mut estimator = BandwidthEstimator::new(LIMITS, 0);
        let mut now_us = 0_u64;
        for (event, step_us) in events {
            now_us = now_us.saturating_add(step_us);
            match event {
                Event::Sent { first, packets, bytes_each } => {
                    estimator.sent(first, packets, bytes_each, now_us);
                }
                Event::Probed { first, packets, bytes_each } => {
                    estimator.sent_probe(first, packets, bytes_each, now_us);
                }
                Event::Feedback { base, arrivals_us } => {
                    feed(&mut estimator, &report(base, &arrivals_us), now_us);
                }
                Event::Bytes(datagram) => feed(&mut estimator, &datagram, now_us),
                Event::Report { loss, rtt_us } => estimator.report(loss, rtt_us, now_us),
                Event::Remb(bitrate_bps) => estimator.remb(bitrate_bps, now_us),
            }
            let estimate = estimator.estimate_bps();
            prop_assert!((LIMITS.min_bps..=LIMITS.max_bps).contains(&estimate));
            prop_assert!((0.0..=1.0).contains(&estimator.loss()));
            let probe = estimator.wants_probe();
            prop_assert!(probe.is_none_or(|probe| probe.bitrate_bps <= LIMITS.max_bps));
        }
    }
}
