//! RTCP: what is written is read again, lengths and counts that lie are refused, and nothing panics.

use farstage_rtp::rtcp::*;
use proptest::prelude::*;

fn single(datagram: &[u8]) -> Rtcp<'_> {
    let mut packets = read_compound(datagram);
    let packet = packets.next().unwrap().unwrap();
    assert!(packets.next().is_none());
    packet
}

fn is_refused(datagram: &[u8]) -> bool {
    read_compound(datagram).any(|packet| packet.is_err())
}

/// Sets the length field of the only packet after its body was cut or grown.
fn set_length(datagram: &mut [u8]) {
    let words = datagram.len() as u16 / 4 - 1;
    datagram[2..4].copy_from_slice(&words.to_be_bytes());
}

const BLOCK: ReportBlock = ReportBlock {
    ssrc: 5,
    fraction_lost: 64,
    cumulative_lost: -3,
    highest_sequence: 0x0001_0002,
    jitter: 90,
    last_sender_report: 0x1234_0000,
    delay_since_last_sender_report: 0x8000,
};

const INFO: SenderInfo =
    SenderInfo { ssrc: 7, ntp: 0xE000_0001_8000_0000, rtp_timestamp: 90_000, packet_count: 10, octet_count: 10_000 };

#[test]
fn compounds_are_read_in_order() {
    let mut datagram = Vec::new();
    write_sender_report(&mut datagram, &INFO, &[BLOCK]);
    write_receiver_report(&mut datagram, 8, &[BLOCK, BLOCK]);
    write_sdes(&mut datagram, 7, b"edge-1");
    write_bye(&mut datagram, &[7, 8]);
    let packets: Vec<_> = read_compound(&datagram).map(Result::unwrap).collect();
    let [Rtcp::SenderReport(sent), Rtcp::ReceiverReport(received), Rtcp::Sdes(names), Rtcp::Bye(bye)] = &packets[..]
    else {
        panic!("unexpected packets: {packets:?}")
    };
    assert_eq!((sent.info, sent.blocks().collect::<Vec<_>>()), (INFO, vec![BLOCK]));
    assert_eq!((received.ssrc, received.blocks().count()), (8, 2));
    assert_eq!(names.cnames().collect::<Vec<_>>(), [(7, &b"edge-1"[..])]);
    assert_eq!(bye.ssrcs().collect::<Vec<_>>(), [7, 8]);
}

#[test]
fn packets_before_a_malformed_one_are_kept() {
    let mut datagram = Vec::new();
    write_pli(&mut datagram, 1, 2);
    datagram.extend_from_slice(&[0x80, 201, 0, 9, 0, 0]);
    let packets: Vec<_> = read_compound(&datagram).collect();
    assert!(matches!(packets[..], [Ok(Rtcp::Pli(_)), Err(MalformedRtcp)]));
}

#[test]
fn round_trips_follow_from_reports() {
    let arrival = middle_of_ntp(0x0000_1234_0000_0000) + 0xC000;
    assert_eq!(BLOCK.round_trip_us(arrival), Some(250_000));
    assert_eq!(BLOCK.round_trip_us(0x1234_0000 + 0x7FFF), None, "faster than light");
    assert_eq!(ReportBlock::default().round_trip_us(arrival), None);
}

#[test]
fn counts_without_their_entries_are_refused() {
    let mut report = Vec::new();
    write_receiver_report(&mut report, 8, &[BLOCK]);
    report[0] = 0x82;
    assert!(is_refused(&report));
    let mut bye = Vec::new();
    write_bye(&mut bye, &[1]);
    bye[0] = 0x82;
    assert!(is_refused(&bye));
    let mut names = Vec::new();
    write_sdes(&mut names, 7, b"name");
    names[0] = 0x82;
    assert!(is_refused(&names));
}

#[test]
fn unterminated_names_are_refused() {
    assert!(is_refused(&[0x81, 202, 0, 2, 0, 0, 0, 1, 1, 2, b'a', b'b']));
    assert!(is_refused(&[0x81, 202, 0, 2, 0, 0, 0, 1, 1, 9, b'a', 0]));
}

#[test]
fn padding_is_stripped_and_checked() {
    let mut report = Vec::new();
    write_receiver_report(&mut report, 8, &[]);
    report.extend_from_slice(&[0, 0, 0, 4]);
    report[0] |= 0x20;
    set_length(&mut report);
    assert!(matches!(single(&report), Rtcp::ReceiverReport(_)));
    for padding in [0, 1, 200] {
        report[11] = padding;
        assert!(is_refused(&report));
    }
}

#[test]
fn wrong_versions_are_refused_and_unknown_types_skipped() {
    assert!(is_refused(&[0x40, 201, 0, 1, 0, 0, 0, 1]));
    let packet = [0x85, 204, 0, 1, 0, 0, 0, 1];
    assert!(matches!(single(&packet), Rtcp::Other { packet_type: 204, format: 5 }));
}

#[test]
fn nacks_list_what_was_lost() {
    let lost = [65_534, 65_535, 0, 5, 40, 56];
    let mut datagram = Vec::new();
    write_nack(&mut datagram, 1, 2, &lost);
    assert_eq!(datagram.len(), 12 + 8, "two entries cover all six");
    let Rtcp::Nack(nack) = single(&datagram) else { panic!() };
    assert_eq!((nack.sender_ssrc, nack.media_ssrc), (1, 2));
    assert_eq!(nack.sequences().collect::<Vec<_>>(), lost);
    datagram.truncate(12);
    set_length(&mut datagram);
    assert!(is_refused(&datagram), "a request for nothing");
}

#[test]
fn keyframe_requests_name_sources_and_numbers() {
    let wanted = [FirEntry { ssrc: 3, request: 255 }, FirEntry { ssrc: 4, request: 1 }];
    let mut datagram = Vec::new();
    write_fir(&mut datagram, 9, &wanted);
    let Rtcp::Fir(fir) = single(&datagram) else { panic!() };
    assert_eq!(fir.entries().collect::<Vec<_>>(), wanted);
    datagram.truncate(datagram.len() - 4);
    set_length(&mut datagram);
    assert!(is_refused(&datagram));
}

#[test]
fn estimates_of_any_size_are_read() {
    for bitrate_bps in [0, 1, 262_143, 262_144, 2_500_000, u64::MAX >> 46 << 46] {
        let mut datagram = Vec::new();
        write_remb(&mut datagram, 1, bitrate_bps, &[5, 6]);
        let Rtcp::Remb(remb) = single(&datagram) else { panic!() };
        assert_eq!(remb.ssrcs().collect::<Vec<_>>(), [5, 6]);
        let error = bitrate_bps - remb.bitrate_bps;
        assert!(error <= bitrate_bps >> 17, "{bitrate_bps} became {}", remb.bitrate_bps);
    }
    let mut datagram = Vec::new();
    write_remb(&mut datagram, 1, 1, &[]);
    datagram[17..20].fill(0xFF);
    let Rtcp::Remb(remb) = single(&datagram) else { panic!() };
    assert_eq!(remb.bitrate_bps, u64::MAX);
    datagram[16] = 1;
    assert!(is_refused(&datagram), "a source is missing");
}

fn transport_feedback(control: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0x8F, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    datagram.extend_from_slice(control);
    datagram.resize(datagram.len().next_multiple_of(4), 0);
    set_length(&mut datagram);
    datagram
}

fn arrivals(feedback: &TransportFeedback<'_>) -> Vec<(u16, Option<i64>)> {
    feedback.packets().map(|packet| (packet.sequence, packet.arrival_us)).collect()
}

#[test]
fn all_kinds_of_status_chunks_are_read() {
    let datagram = transport_feedback(&[
        0xFF, 0xFE, 0, 13, // from 65534, 13 packets
        0xFF, 0xFF, 0xFF, 9, // reference time -64 ms, feedback 9
        0x20, 2, // a run of two small deltas
        0xD8, 0x00, // two-bit symbols: 1, 2, 0, 0, 0, 0, 0
        0xA0, 0x00, // one-bit symbols: 1, 0, 0, 0 (ten are beyond the count)
        4, 8, 1, 0xFF, 0xFF, 2, // deltas
    ]);
    let Rtcp::TransportFeedback(feedback) = single(&datagram) else { panic!() };
    assert_eq!((feedback.packet_count, feedback.feedback_count), (13, 9));
    let read = arrivals(&feedback);
    let expected =
        [(65_534, Some(-63_000)), (65_535, Some(-61_000)), (0, Some(-60_750)), (1, Some(-61_000)), (2, None)];
    assert_eq!(read[..5], expected);
    assert_eq!(read[9], (7, Some(-60_500)));
    assert_eq!(read.len(), 13);
}

#[test]
fn feedback_that_does_not_cover_its_count_is_refused() {
    let fixed = [0, 1, 0, 3, 0, 0, 1, 0];
    for (tail, why) in [
        (&[0x20, 2, 4, 4][..], "the second chunk is a delta"),
        (&[0x20, 0, 0x20, 3, 1, 1, 1][..], "a run of none"),
        (&[0x20, 3, 4, 4][..], "a delta is missing"),
        (&[0x60, 3, 4, 4, 4, 4, 4, 4][..], "the reserved symbol"),
        (&[][..], "no chunks"),
    ] {
        let mut control = fixed.to_vec();
        control.extend_from_slice(tail);
        assert!(is_refused(&transport_feedback(&control)), "{why}");
    }
    assert!(is_refused(&transport_feedback(&[0, 1, 0, 0, 0, 0, 1, 0])), "no packets");
    assert!(is_refused(&transport_feedback(&[0, 1, 0, 1])), "no reference time");
}

fn any_arrivals() -> impl Strategy<Value = Vec<Option<i64>>> {
    let step = prop_oneof![4 => 0_i64..60_000, 1 => -8_000_i64..8_000_000];
    let steps = prop::collection::vec((prop::option::weighted(0.8, step), 1_usize..12), 1..60);
    (0_i64..1 << 40, steps).prop_map(|(start, steps)| {
        let mut now = start / 250 * 250;
        let mut arrivals = Vec::new();
        for (step, times) in steps {
            for _ in 0..times {
                now += step.unwrap_or(0) / 250 * 250;
                arrivals.push(step.map(|_| now));
            }
        }
        arrivals
    })
}

proptest! {
    #[test]
    fn written_arrivals_are_read_again(base: u16, arrivals_us in any_arrivals()) {
        let mut datagram = Vec::new();
        let covered = write_transport_feedback(&mut datagram, 1, 2, base, 3, &arrivals_us);
        if arrivals_us.iter().all(Option::is_none) {
            prop_assert_eq!((covered, datagram.len()), (0, 0));
            return Ok(());
        }
        prop_assert!(covered > 0 && datagram.len() < 1_200);
        let Rtcp::TransportFeedback(feedback) = single(&datagram) else { panic!() };
        let read = arrivals(&feedback);
        prop_assert_eq!(read.len(), covered);
        // The reference time has 24 bits, so only differences between arrivals survive.
        let offset = read.iter().zip(&arrivals_us).find_map(|(read, written)| {
            Some(read.1? - (*written)?)
        });
        for (at, (sequence, arrival_us)) in read.iter().enumerate() {
            prop_assert_eq!(*sequence, base.wrapping_add(at as u16));
            let expected = arrivals_us[at].map(|written| written + offset.unwrap_or(0));
            prop_assert_eq!(*arrival_us, expected);
        }
    }

    #[test]
    fn asked_for_packets_are_all_listed(
        first: u16,
        steps in prop::collection::vec(1_u16..40, 0..100),
    ) {
        let mut lost = vec![first];
        lost.extend(steps.iter().scan(first, |sequence, step| {
            *sequence = sequence.wrapping_add(*step);
            Some(*sequence)
        }));
        let mut datagram = Vec::new();
        write_nack(&mut datagram, 1, 2, &lost);
        let Rtcp::Nack(nack) = single(&datagram) else { panic!() };
        prop_assert_eq!(nack.sequences().collect::<Vec<_>>(), lost);
    }

    #[test]
    fn arbitrary_bytes_never_panic(datagram in prop::collection::vec(any::<u8>(), 0..300)) {
        visit(&datagram);
    }

    #[test]
    fn arbitrary_bodies_never_panic(
        format in 0_u8..32,
        packet_type in 200_u8..207,
        words in prop::collection::vec(any::<[u8; 4]>(), 1..60),
    ) {
        let mut datagram = vec![0x80 | format, packet_type, 0, words.len() as u8];
        datagram.extend(words.into_iter().flatten());
        visit(&datagram);
    }

    #[test]
    fn mutated_compounds_never_panic(
        arrivals_us in any_arrivals(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        kept in any::<prop::sample::Index>(),
    ) {
        let mut datagram = Vec::new();
        write_transport_feedback(&mut datagram, 1, 2, 65_000, 3, &arrivals_us);
        write_sender_report(&mut datagram, &INFO, &[BLOCK]);
        write_sdes(&mut datagram, 7, b"edge-1");
        write_nack(&mut datagram, 1, 2, &[1, 2, 30]);
        write_fir(&mut datagram, 9, &[FirEntry { ssrc: 3, request: 2 }]);
        write_remb(&mut datagram, 1, 1_000_000, &[5]);
        for (place, value) in changes {
            let at = place.index(datagram.len());
            datagram[at] = value;
        }
        datagram.truncate(kept.index(datagram.len()) + 1);
        visit(&datagram);
    }
}

/// Reads everything that can be read.
fn visit(datagram: &[u8]) {
    for packet in read_compound(datagram) {
        let Ok(packet) = packet else { continue };
        match packet {
            Rtcp::SenderReport(report) => assert!(report.blocks().count() < 32),
            Rtcp::ReceiverReport(report) => assert!(report.blocks().count() < 32),
            Rtcp::Nack(nack) => assert!(nack.sequences().count() > 0),
            Rtcp::Fir(fir) => assert!(fir.entries().count() > 0),
            Rtcp::Remb(remb) => assert!(remb.ssrcs().count() < 256),
            Rtcp::TransportFeedback(feedback) => {
                assert_eq!(feedback.packets().count(), usize::from(feedback.packet_count));
            }
            Rtcp::Bye(bye) => assert!(bye.ssrcs().count() < 32),
            Rtcp::Sdes(names) => assert!(names.cnames().count() < 32),
            Rtcp::Pli(_) | Rtcp::Other { .. } => {}
        }
    }
}

#[test]
fn transport_feedback_is_read_with_the_padding_that_browsers_give_it() {
    for arrived in 1..=8_u16 {
        let arrivals: Vec<Option<i64>> = (0..arrived).map(|at| Some(i64::from(at) * 1_000)).collect();
        let mut packet = Vec::new();
        write_transport_feedback(&mut packet, 1, 2, 100, 0, &arrivals);
        // Chromium states the padding: the P bit, and its length in the last byte.
        let padding = (4 - (22 + usize::from(arrived)) % 4) % 4;
        if padding > 0 {
            packet[0] |= 0x20;
            *packet.last_mut().unwrap() = padding as u8;
        }
        let Rtcp::TransportFeedback(feedback) = single(&packet) else { panic!("{arrived}") };
        assert_eq!(feedback.packets().filter(|status| status.arrival_us.is_some()).count(), usize::from(arrived));
    }
}
