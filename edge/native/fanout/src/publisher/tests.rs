//! Whatever arrives, in whatever order: what is kept is bounded, what is told is in order, and nothing panics.

use std::time::{Duration, Instant};

use farstage_rtp::packetize::Codec;
use farstage_rtp::rtcp::{Rtcp, read_compound};
use proptest::prelude::*;

use super::arrivals::Arrivals;
use super::missing::Missing;
use super::reassembly::{Packet, Reassembly};
use super::timeline::Timeline;

const PATIENCE: Duration = Duration::from_millis(150);

fn packet(timestamp: u32, marker: bool, arrived: Instant, payload: Vec<u8>) -> Packet {
    Packet { timestamp, marker, arrived, payload }
}

fn any_codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(vec![Codec::H264, Codec::Vp8, Codec::Av1])
}

/// Numbers near each other, near their wrap and anywhere.
fn any_index() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 65_500..65_700_u64, 1 => 0..200_000_u64, 1 => 0..1_u64 << 48]
}

/// RTP times within a second of each other, and anywhere.
fn any_timestamp() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 9_000_000..9_090_000_u64, 1 => 0..1_u64 << 34]
}

proptest! {
    #[test]
    fn any_packets_make_pictures_with_rising_numbers(
        codec in any_codec(),
        packets in prop::collection::vec(
            (any_index(), 0..9_u32, any::<bool>(), prop::collection::vec(any::<u8>(), 0..12), 0..80_u64), 0..200
        ),
    ) {
        let mut reassembly = Reassembly::new(codec);
        let mut now = Instant::now();
        let mut numbers = Vec::new();
        for (index, timestamp, marker, payload, pause_ms) in packets {
            reassembly.insert(index, packet(timestamp, marker, now, payload));
            now += Duration::from_millis(pause_ms);
            numbers.extend(reassembly.take(now, PATIENCE).into_iter().map(|picture| picture.sequence));
        }
        prop_assert!(numbers.is_sorted_by(|before, after| before < after));
        let told = numbers.len() as u64 + reassembly.pictures_lost;
        prop_assert!(numbers.last().is_none_or(|last| u64::from(*last) < told), "no number is left out without a loss");
    }

    #[test]
    fn pictures_are_the_same_in_whatever_order_their_packets_come(order in Just((1..120_u64).collect::<Vec<_>>()).prop_shuffle()) {
        let now = Instant::now();
        // Three packets a picture; the first byte of a VP8 payload says which begins one.
        let nth = |index: u64| packet((index / 3) as u32, index % 3 == 2, now, vec![u8::from(index.is_multiple_of(3)) << 4, index as u8]);
        let mut reassembly = Reassembly::new(Codec::Vp8);
        reassembly.insert(0, nth(0));
        let mut whole = Vec::new();
        for index in order {
            reassembly.insert(index, nth(index));
            whole.extend(reassembly.take(now, PATIENCE));
        }
        prop_assert_eq!(whole.len(), 40);
        for (number, picture) in (0_u32..).zip(whole) {
            prop_assert_eq!((picture.sequence, picture.timestamp), (number, number));
            prop_assert_eq!(picture.payload, (3 * number..3 * number + 3).map(|byte| byte as u8).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_asked_for_is_missing_ascending_and_bounded(
        indices in prop::collection::vec((any_index(), 0..30_u64), 1..200), rtt_ms in 0..500_u64
    ) {
        let mut missing = Missing::default();
        let mut now = Instant::now();
        let mut arrived = Vec::new();
        for (index, pause_ms) in indices {
            missing.arrived(index, now);
            arrived.push(index as u16);
            now += Duration::from_millis(pause_ms);
            let due = missing.take_due(Duration::from_millis(rtt_ms), now, 128);
            prop_assert!(due.len() <= 128);
            prop_assert!(missing.take_due(Duration::from_millis(rtt_ms), now, 1_000).len() <= 512 - due.len());
        }
        missing.forget_before(u64::MAX);
        prop_assert!(missing.take_due(Duration::ZERO, now + Duration::from_secs(9), 1).is_empty());
    }

    #[test]
    fn time_rises_in_each_layer_whatever_is_reported(
        events in prop::collection::vec((0..3_usize, any::<bool>(), any::<u32>(), any_timestamp(), any::<u64>(), 0..90_000_i64), 1..200)
    ) {
        let mut timeline = Timeline::new(2);
        let mut latest = [i64::MIN; 3];
        let mut now_us = 1_795_564_800_000_000;
        for (layer, is_report, rtp, timestamp, ntp, pause_us) in events {
            now_us += pause_us;
            if is_report {
                timeline.reported(layer, crate::clock::unix_us_of_ntp(ntp), rtp);
            } else if layer < 2 {
                let captured = timeline.capture_us(layer, timestamp, now_us);
                prop_assert!(captured > latest[layer]);
                latest[layer] = captured;
            }
        }
    }

    #[test]
    fn arrivals_are_read_back_by_our_own_parser(
        first in any::<u16>(), arrives in prop::collection::vec((any::<bool>(), 0..300_000_i64), 1..900), every in 1..200_usize
    ) {
        let mut arrivals = Arrivals::default();
        let (mut noted, mut reported, mut at_us) = (Vec::new(), Vec::new(), 0);
        for (at, (arrived, pause_us)) in arrives.iter().enumerate() {
            at_us += pause_us;
            let number = first.wrapping_add(at as u16);
            if *arrived {
                arrivals.note(number, at_us);
                noted.push((number, at_us));
            }
            if at % every == 0 || at + 1 == arrives.len() {
                let mut out = Vec::new();
                while arrivals.write(&mut out, 1, 2) {
                    prop_assert!(out.len() < 1_100, "fits a datagram with what stands before it");
                    for packet in read_compound(&out) {
                        let Ok(Rtcp::TransportFeedback(feedback)) = packet else { panic!("not feedback") };
                        reported.extend(feedback.packets());
                    }
                    out.clear();
                }
            }
        }
        let came: Vec<(u16, i64)> = reported.iter().filter_map(|status| Some((status.sequence, status.arrival_us?))).collect();
        prop_assert_eq!(came.len(), noted.len());
        for ((number, at_us), (told, told_us)) in noted.iter().zip(&came) {
            prop_assert_eq!(number, told);
            prop_assert!((0..250).contains(&(at_us - told_us)), "{} for {}", told_us, at_us);
        }
        prop_assert!(reported.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)));
    }

    #[test]
    fn any_transport_wide_numbers_are_taken(numbers in prop::collection::vec((any::<u16>(), 0..1_000_000_i64), 0..300)) {
        let mut arrivals = Arrivals::default();
        let (mut at_us, mut out) = (0, Vec::new());
        for (number, pause_us) in numbers {
            at_us += pause_us;
            arrivals.note(number, at_us);
            if number % 5 == 0 {
                while arrivals.write(&mut out, 1, 2) {}
                prop_assert!(read_compound(&out).all(|packet| packet.is_ok()));
                out.clear();
            }
        }
    }
}

#[test]
fn a_packet_reported_missing_that_comes_after_all_is_reported_again() {
    let mut arrivals = Arrivals::default();
    let statuses = |arrivals: &mut Arrivals| {
        let mut out = Vec::new();
        while arrivals.write(&mut out, 1, 2) {}
        let packets = |packet| match packet {
            Ok(Rtcp::TransportFeedback(feedback)) => {
                feedback.packets().map(|s| (s.sequence, s.arrival_us.is_some())).collect()
            }
            _ => Vec::new(),
        };
        read_compound(&out).flat_map(packets).collect::<Vec<_>>()
    };
    arrivals.note(7, 1_000);
    arrivals.note(9, 3_000);
    assert_eq!(statuses(&mut arrivals), [(7, true), (8, false), (9, true)]);
    assert_eq!(statuses(&mut arrivals), []);
    arrivals.note(8, 50_000);
    assert_eq!(statuses(&mut arrivals)[0], (8, true));
}
