//! Packetisers and depacketisers: a frame survives both, payloads are even, and nothing panics.

use farstage_rtp::depacketize::{DepacketizeError, Depacketizer, depacketize, starts_frame};
use farstage_rtp::packetize::{Codec, FrameError, MIN_MAX_PAYLOAD, Payloads, is_entry_point, is_keyframe, packetize};
use proptest::prelude::*;

const CODECS: [Codec; 4] = [Codec::H264, Codec::Vp8, Codec::Av1, Codec::Opus];
const MAX_PAYLOAD: usize = 1_160;

fn cut(codec: Codec, frame: &[u8], max_payload: usize) -> Payloads {
    let mut payloads = Payloads::new();
    packetize(codec, frame, max_payload, 0x1234, &mut payloads).unwrap();
    assert!(payloads.iter().all(|payload| payload.len() <= max_payload));
    payloads
}

fn rebuilt(codec: Codec, payloads: &Payloads) -> Vec<u8> {
    let mut frame = Vec::new();
    depacketize(codec, payloads.iter(), &mut frame).unwrap();
    frame
}

/// Whether all payloads but the last are equal within `slack` bytes, and the last one is not longer than that.
/// Between two AV1 units a few bytes of a payload may be too little for the next one's length and content.
fn are_even(payloads: &Payloads, slack: usize) -> bool {
    let lens: Vec<usize> = payloads.iter().map(<[u8]>::len).collect();
    let Some((last, others)) = lens.split_last() else { return false };
    let longest = *others.iter().max().unwrap_or(last);
    others.iter().all(|len| len + slack >= longest) && *last <= longest + slack
}

fn annex_b(units: &[Vec<u8>]) -> Vec<u8> {
    units.iter().flat_map(|unit| [&[0, 0, 0, 1], &unit[..]].concat()).collect()
}

/// A unit with a size field.
fn obu(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut unit = vec![kind << 3 | 2];
    let mut len = payload.len();
    while len >= 0x80 {
        unit.push(len as u8 | 0x80);
        len >>= 7;
    }
    unit.push(len as u8);
    unit.extend_from_slice(payload);
    unit
}

#[test]
fn parameter_sets_travel_together_and_slices_in_equal_fragments() {
    let units = vec![vec![0x67; 20], vec![0x68; 5], vec![0x06; 30], [&[0x65][..], &[7; 5_000]].concat()];
    let mut frame = vec![0, 0, 0, 1, 9, 0xF0];
    frame.extend_from_slice(&annex_b(&units));
    let payloads = cut(Codec::H264, &frame, MAX_PAYLOAD);
    assert_eq!(payloads.len(), 6);
    let aggregate = payloads.get(0).unwrap();
    assert_eq!((aggregate[0], aggregate.len()), (0x60 | 24, 1 + 6 + 55));
    let lens: Vec<usize> = payloads.iter().skip(1).map(<[u8]>::len).collect();
    assert_eq!(lens, [1_002; 5]);
    assert_eq!(payloads.get(1).unwrap()[..2], [0x60 | 28, 0x80 | 5]);
    assert_eq!(payloads.get(5).unwrap()[..2], [0x60 | 28, 0x40 | 5]);
    assert_eq!(rebuilt(Codec::H264, &payloads), annex_b(&units));
}

#[test]
fn both_start_codes_are_found_and_filler_is_dropped() {
    let frame = [0, 0, 1, 0x41, 1, 2, 0, 0, 0, 1, 12, 255, 255, 128, 0, 0, 1, 0x41, 3, 0, 0];
    let payloads = cut(Codec::H264, &frame, MAX_PAYLOAD);
    let expected = annex_b(&[vec![0x41, 1, 2], vec![0x41, 3]]);
    assert_eq!(rebuilt(Codec::H264, &payloads), expected);
}

#[test]
fn vp8_fragments_carry_start_and_picture_id() {
    let payloads = cut(Codec::Vp8, &[9; 2_000], MAX_PAYLOAD);
    assert_eq!(payloads.len(), 2);
    assert_eq!(payloads.get(0).unwrap()[..4], [0x90, 0x80, 0x92, 0x34]);
    assert_eq!(payloads.get(1).unwrap()[..4], [0x80, 0x80, 0x92, 0x34]);
    assert!(payloads.iter().all(|payload| payload.len() == 1_004));
}

#[test]
fn vp8_payloads_of_other_senders_are_read() {
    for start in [&[0x10][..], &[0x90, 0x80, 7], &[0x90, 0xF0, 0x81, 7, 3, 4], &[0x90, 0x30, 1]] {
        let payload = [start, &[1, 2, 3]].concat();
        let mut frame = Vec::new();
        depacketize(Codec::Vp8, [&payload[..]], &mut frame).unwrap();
        assert_eq!(frame, [1, 2, 3]);
    }
}

#[test]
fn av1_units_lose_sizes_and_delimiters_in_transit() {
    let sequence = obu(1, &[1, 2, 3]);
    let picture = obu(6, &[&[0x10][..], &[5; 3_000]].concat());
    let frame = [obu(2, &[]), sequence.clone(), picture.clone(), obu(15, &[0; 9])].concat();
    let payloads = cut(Codec::Av1, &frame, MAX_PAYLOAD);
    assert_eq!(payloads.len(), 3);
    assert_eq!(payloads.get(0).unwrap()[..6], [0x40 | 2 << 4 | 8, 4, 1 << 3, 1, 2, 3]);
    assert_eq!(payloads.get(1).unwrap()[0], 0x80 | 0x40 | 1 << 4);
    assert_eq!(payloads.get(2).unwrap()[0], 0x80 | 1 << 4);
    assert!(are_even(&payloads, 0));
    assert_eq!(rebuilt(Codec::Av1, &payloads), [sequence, picture].concat());
}

#[test]
fn opus_is_one_payload() {
    assert_eq!(rebuilt(Codec::Opus, &cut(Codec::Opus, &[1, 2, 3], 1_000)), [1, 2, 3]);
    let mut payloads = Payloads::new();
    let result = packetize(Codec::Opus, &[0; 1_001], 1_000, 0, &mut payloads);
    assert_eq!(result, Err(FrameError::TooLarge));
}

#[test]
fn keyframes_are_told_apart() {
    assert!(is_keyframe(Codec::H264, &annex_b(&[vec![0x67, 1], vec![0x65, 1]])));
    assert!(!is_keyframe(Codec::H264, &annex_b(&[vec![0x67, 1], vec![0x41, 1]])));
    assert!(is_keyframe(Codec::Vp8, &[0x10, 0]) && !is_keyframe(Codec::Vp8, &[0x11, 0]));
    let (sequence, key, inter) = (obu(1, &[0]), obu(6, &[0x10]), obu(6, &[0x30]));
    assert!(is_keyframe(Codec::Av1, &[obu(2, &[]), sequence.clone(), key.clone()].concat()));
    assert!(!is_keyframe(Codec::Av1, &[sequence, inter].concat()));
    assert!(!is_keyframe(Codec::Av1, &key));
    assert!(is_keyframe(Codec::Opus, &[1]));
    assert!(CODECS.iter().all(|&codec| !is_keyframe(codec, &[])));
}

#[test]
fn decoding_can_begin_where_the_parameter_sets_are() {
    let (sequence, picture, slice) = (vec![0x67, 1], vec![0x68, 1], vec![0x65, 0x88]);
    assert!(is_entry_point(Codec::H264, &annex_b(&[sequence.clone(), picture.clone(), slice.clone()])));
    for units in [vec![slice.clone()], vec![sequence.clone(), slice.clone()], vec![picture, slice], vec![sequence]] {
        assert!(!is_entry_point(Codec::H264, &annex_b(&units)), "{units:?}");
    }
    assert!(is_entry_point(Codec::Vp8, &[0x10, 0]) && !is_entry_point(Codec::Vp8, &[0x11, 0]));
}

#[test]
fn the_payload_that_begins_a_frame_is_told_apart() {
    let first_slice = [&[0x41, 0x9A][..], &[7; 3_000]].concat();
    let further_slice = [&[0x41, 0x1A][..], &[7; 3_000]].concat();
    let frames = [
        (Codec::H264, annex_b(&[first_slice.clone(), further_slice])),
        (Codec::H264, annex_b(&[vec![0x67, 1], vec![0x68, 1], first_slice])),
        (Codec::Vp8, vec![9; 3_000]),
        (Codec::Av1, [obu(1, &[0]), obu(6, &[0x10; 3_000])].concat()),
        (Codec::Av1, [obu(3, &[0x10; 9]), obu(4, &[1; 1_500]), obu(4, &[1; 1_500])].concat()),
    ];
    for (codec, frame) in frames {
        let payloads = cut(codec, &frame, MAX_PAYLOAD);
        let starts: Vec<bool> = payloads.iter().map(|payload| starts_frame(codec, payload)).collect();
        assert!(starts.len() > 2 && starts[0], "{codec:?} {starts:?}");
        let others = starts.iter().skip(1).filter(|start| **start).count();
        assert!(others <= usize::from(frame.starts_with(&[0, 0, 0, 1, 0x67])), "{codec:?} {starts:?}");
    }
    assert!(CODECS.iter().all(|codec| !starts_frame(*codec, &[])));
}

#[test]
fn frames_that_are_none_are_refused() {
    let mut payloads = cut(Codec::Vp8, &[1], MAX_PAYLOAD);
    let mut refuse = |codec, frame: &[u8], max_payload| {
        let error = packetize(codec, frame, max_payload, 0, &mut payloads).unwrap_err();
        assert!(payloads.is_empty());
        error
    };
    for codec in CODECS {
        assert_eq!(refuse(codec, &[], MAX_PAYLOAD), FrameError::Empty);
        assert_eq!(refuse(codec, &[1], MIN_MAX_PAYLOAD - 1), FrameError::PayloadTooSmall);
    }
    assert_eq!(refuse(Codec::H264, &[1, 2, 3], MAX_PAYLOAD), FrameError::Malformed);
    assert_eq!(refuse(Codec::H264, &[0, 0, 1, 28, 3], MAX_PAYLOAD), FrameError::Malformed);
    assert_eq!(refuse(Codec::H264, &[0, 0, 1, 9, 3], MAX_PAYLOAD), FrameError::Empty);
    assert_eq!(refuse(Codec::Av1, &[0x80], MAX_PAYLOAD), FrameError::Malformed);
    assert_eq!(refuse(Codec::Av1, &[0x32, 9, 1], MAX_PAYLOAD), FrameError::Malformed);
    assert_eq!(refuse(Codec::Av1, &obu(2, &[]), MAX_PAYLOAD), FrameError::Empty);
    assert_eq!(refuse(Codec::Av1, &[0x32, 0].repeat(5_000), MAX_PAYLOAD), FrameError::TooLarge);
}

#[test]
fn a_missing_payload_costs_the_frame_and_not_the_next() {
    let frames = [(Codec::H264, annex_b(&[[&[0x65][..], &[7; 5_000]].concat()])), (Codec::Av1, obu(6, &[3; 5_000]))];
    for (codec, frame) in frames {
        let payloads = cut(codec, &frame, MAX_PAYLOAD);
        let mut depacketizer = Depacketizer::new(codec);
        let mut out = Vec::new();
        for missing in 0..payloads.len() {
            for (at, payload) in payloads.iter().enumerate() {
                if at != missing {
                    let _ = depacketizer.push(payload);
                }
            }
            let is_fragment_lost = missing == 0 || missing == payloads.len() - 1;
            let result = depacketizer.finish(&mut out);
            assert!(!is_fragment_lost || result == Err(DepacketizeError::Incomplete));
            payloads.iter().for_each(|payload| depacketizer.push(payload).unwrap());
            depacketizer.finish(&mut out).unwrap();
            assert_eq!(out, frame);
        }
    }
}

#[test]
fn contradicting_h264_payloads_are_refused() {
    for payload in [
        &[][..],
        &[0],
        &[24],
        &[24, 0, 0],
        &[24, 0, 2, 0x41],
        &[24, 0, 1, 28],
        &[25, 0, 0, 0, 1, 0x41],
        &[28, 0x85],
        &[28, 0xC5, 1],
        &[28, 0x80, 1],
        &[28, 0x05, 1],
    ] {
        let mut frame = Vec::new();
        assert!(depacketize(Codec::H264, [payload], &mut frame).is_err(), "{payload:?}");
    }
}

fn any_h264_unit() -> impl Strategy<Value = Vec<u8>> {
    let kind = (1_u8..24).prop_filter("these are dropped", |kind| ![9, 12].contains(kind));
    let len = prop_oneof![3 => 1_usize..100, 2 => 100_usize..4_000];
    (kind, 0_u8..4, len.prop_flat_map(|len| prop::collection::vec(any::<u8>(), len))).prop_map(
        |(kind, importance, mut body)| {
            for at in 1..body.len() {
                if body[at - 1] == 0 && body[at] == 0 {
                    body[at] = 3;
                }
            }
            *body.last_mut().unwrap() |= 1;
            [&[importance << 5 | kind], &body[..]].concat()
        },
    )
}

fn any_obus() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let len = prop_oneof![2 => 0_usize..20, 3 => 100_usize..140, 2 => 1_000_usize..4_000];
    let payload = len.prop_flat_map(|len| prop::collection::vec(any::<u8>(), len));
    prop::collection::vec((1_u8..8, payload), 1..8)
}

proptest! {
    #[test]
    fn h264_frames_survive(
        units in prop::collection::vec(any_h264_unit(), 1..8),
        max_payload in MIN_MAX_PAYLOAD..2_000,
    ) {
        let payloads = cut(Codec::H264, &annex_b(&units), max_payload);
        prop_assert_eq!(rebuilt(Codec::H264, &payloads), annex_b(&units));
        prop_assert!(units.len() > 1 || are_even(&payloads, 0));
    }

    #[test]
    fn vp8_frames_survive(
        frame in prop::collection::vec(any::<u8>(), 1..6_000),
        max_payload in MIN_MAX_PAYLOAD..2_000,
    ) {
        let payloads = cut(Codec::Vp8, &frame, max_payload);
        prop_assert!(are_even(&payloads, 0));
        prop_assert_eq!(payloads.len(), frame.len().div_ceil(max_payload - 4));
        prop_assert_eq!(rebuilt(Codec::Vp8, &payloads), frame);
    }

    #[test]
    fn av1_frames_survive(units in any_obus(), max_payload in MIN_MAX_PAYLOAD..2_000) {
        let frame: Vec<u8> =
            units.iter().flat_map(|(kind, payload)| obu(*kind, payload)).collect();
        let carried: Vec<u8> = units
            .iter()
            .filter(|(kind, _)| *kind != 2)
            .flat_map(|(kind, payload)| obu(*kind, payload))
            .collect();
        if carried.is_empty() {
            return Ok(());
        }
        let payloads = cut(Codec::Av1, &frame, max_payload);
        prop_assert_eq!(rebuilt(Codec::Av1, &payloads), carried);
        let slack = if units.len() == 1 { 0 } else { 4 };
        prop_assert!(are_even(&payloads, slack));
    }

    #[test]
    fn arbitrary_frames_never_panic(
        codec in prop::sample::select(&CODECS[..]),
        frame in prop::collection::vec(prop_oneof![Just(0), Just(1), Just(0x32), any::<u8>()], 0..600),
        max_payload in 0_usize..300,
    ) {
        prop_assert!(is_keyframe(codec, &frame) || !is_entry_point(codec, &frame));
        let mut payloads = Payloads::new();
        if packetize(codec, &frame, max_payload, 0, &mut payloads).is_ok() {
            prop_assert!(payloads.iter().all(|payload| payload.len() <= max_payload));
            rebuilt(codec, &payloads);
        }
    }

    #[test]
    fn arbitrary_payloads_never_panic(
        codec in prop::sample::select(&CODECS[..]),
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6),
    ) {
        prop_assert!(payloads.iter().all(|payload| !payload.is_empty() || !starts_frame(codec, payload)));
        let mut frame = Vec::new();
        let result = depacketize(codec, payloads.iter().map(|payload| &payload[..]), &mut frame);
        prop_assert_eq!(result.is_err(), frame.is_empty());
    }

    #[test]
    fn mutated_payloads_never_panic(
        units in any_obus(),
        h264_units in prop::collection::vec(any_h264_unit(), 1..4),
        change in (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()),
        swap in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let obus: Vec<u8> = units.iter().flat_map(|(kind, payload)| obu(*kind, payload)).collect();
        for (codec, frame) in [(Codec::Av1, obus), (Codec::H264, annex_b(&h264_units))] {
            let mut payloads = Payloads::new();
            if packetize(codec, &frame, 200, 0, &mut payloads).is_err() {
                continue;
            }
            let mut payloads: Vec<Vec<u8>> = payloads.iter().map(<[u8]>::to_vec).collect();
            let count = payloads.len();
            payloads.swap(swap.0.index(count), swap.1.index(count));
            let mutated = &mut payloads[change.0.index(count)];
            let at = change.1.index(mutated.len().min(4));
            mutated[at] = change.2;
            let mut out = Vec::new();
            let _ = depacketize(codec, payloads.iter().map(|payload| &payload[..]), &mut out);
        }
    }
}
