//! RTP headers: what is written is read again, and what is malformed is refused.

use farstage_rtp::header::{
    DatagramKind, Extension, HeaderError, HeaderFields, RtpHeader, classify, header_len, is_rtcp, write_header,
};
use proptest::prelude::*;

const FIELDS: HeaderFields =
    HeaderFields { marker: true, payload_type: 96, sequence: 0xABCD, timestamp: 0x01020304, ssrc: 7 };

fn with_extension_block(profile: u16, block: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 12];
    write_header(&mut packet, &FIELDS, &[]).unwrap();
    packet[0] |= 0x10;
    packet.extend_from_slice(&profile.to_be_bytes());
    packet.extend_from_slice(&(block.len() as u16 / 4).to_be_bytes());
    packet.extend_from_slice(block);
    packet
}

fn elements(packet: &[u8]) -> Vec<(u8, &[u8])> {
    let header = RtpHeader::read(packet).unwrap();
    header.extensions().map(|element| (element.id, element.value)).collect()
}

#[test]
fn datagrams_are_told_apart() {
    assert_eq!(classify(&[]), DatagramKind::Other);
    assert_eq!(classify(&[0x80]), DatagramKind::Other);
    assert_eq!(classify(&[1, 1]), DatagramKind::Stun);
    assert_eq!(classify(&[22, 254]), DatagramKind::Dtls);
    assert_eq!(classify(&[64, 0]), DatagramKind::Other);
    assert_eq!(classify(&[0x80, 96]), DatagramKind::Rtp);
    assert_eq!(classify(&[0x80, 0x80 | 96]), DatagramKind::Rtp);
    assert_eq!(classify(&[0x81, 200]), DatagramKind::Rtcp);
    assert!(is_rtcp(192) && is_rtcp(223) && !is_rtcp(191) && !is_rtcp(224));
}

#[test]
fn contributing_sources_belong_to_the_header() {
    let mut packet = vec![0; 12];
    write_header(&mut packet, &FIELDS, &[]).unwrap();
    packet[0] |= 2;
    packet.extend_from_slice(&[0; 8]);
    packet.extend_from_slice(b"payload");
    let header = RtpHeader::read(&packet).unwrap();
    assert_eq!((header.csrc_count(), header.header_len()), (2, 20));
    assert_eq!(header.payload(), Ok(20..27));
    assert_eq!(RtpHeader::read(&packet[..19]).err(), Some(HeaderError::TooShort));
}

#[test]
fn one_byte_extensions_are_iterated_up_to_the_stop() {
    let packet = with_extension_block(0xBEDE, &[0x10, 1, 0, 0, 0x21, 2, 3, 0xF0]);
    assert_eq!(elements(&packet), [(1, &[1][..]), (2, &[2, 3][..])]);
    let header = RtpHeader::read(&packet).unwrap();
    assert_eq!(header.extension(2), Some(&[2, 3][..]));
    assert_eq!(header.extension(3), None);
}

#[test]
fn two_byte_extensions_may_be_empty_and_long() {
    let packet = with_extension_block(0x1003, &[1, 0, 0, 20, 3, 7, 8, 9]);
    assert_eq!(elements(&packet), [(1, &[][..]), (20, &[7, 8, 9][..])]);
}

#[test]
fn blocks_of_other_profiles_are_skipped() {
    let packet = with_extension_block(0x4321, &[0xFF; 8]);
    assert_eq!(elements(&packet), []);
    assert_eq!(RtpHeader::read(&packet).unwrap().header_len(), 24);
}

#[test]
fn elements_past_their_block_are_refused() {
    for (profile, block) in
        [(0xBEDE, [0, 0, 0, 0x10]), (0xBEDE, [0x13, 1, 2, 3]), (0x1000, [0, 0, 0, 1]), (0x1000, [1, 3, 0, 0])]
    {
        let packet = with_extension_block(profile, &block);
        assert_eq!(RtpHeader::read(&packet).err(), Some(HeaderError::Extension));
    }
    let mut packet = with_extension_block(0xBEDE, &[0; 4]);
    packet[15] = 2;
    assert_eq!(RtpHeader::read(&packet).err(), Some(HeaderError::TooShort));
}

#[test]
fn wrong_versions_and_padding_are_refused() {
    let mut packet = vec![0; 13];
    write_header(&mut packet, &FIELDS, &[]).unwrap();
    assert_eq!(RtpHeader::read(&packet).unwrap().payload(), Ok(12..13));
    packet[0] |= 0x20;
    for (padding, payload) in [(0, None), (1, Some(12..12)), (2, None)] {
        packet[12] = padding;
        assert_eq!(RtpHeader::read(&packet).unwrap().payload().ok(), payload);
    }
    packet[0] = 0x40;
    assert_eq!(RtpHeader::read(&packet).err(), Some(HeaderError::Version));
}

#[test]
fn unwritable_extensions_leave_the_buffer_alone() {
    let mut out = [9; 64];
    for (id, len) in [(0, 1), (15, 1), (1, 0), (1, 17)] {
        let value = vec![0; len];
        let result = write_header(&mut out, &FIELDS, &[Extension { id, value: &value }]);
        assert_eq!(result, Err(HeaderError::Unwritable));
    }
    assert_eq!(write_header(&mut out[..11], &FIELDS, &[]), Err(HeaderError::NoRoom));
    assert_eq!(out, [9; 64]);
}

prop_compose! {
    fn any_fields()(
        marker: bool, payload_type in 0_u8..128, sequence: u16, timestamp: u32, ssrc: u32,
    ) -> HeaderFields {
        HeaderFields { marker, payload_type, sequence, timestamp, ssrc }
    }
}

fn any_elements() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    prop::collection::vec((1_u8..15, prop::collection::vec(any::<u8>(), 1..=16)), 0..6)
}

fn written(fields: &HeaderFields, elements: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let elements: Vec<Extension<'_>> = elements.iter().map(|(id, value)| Extension { id: *id, value }).collect();
    let mut packet = vec![0xEE; header_len(&elements)];
    let len = write_header(&mut packet, fields, &elements).unwrap();
    assert_eq!(len, packet.len());
    packet
}

proptest! {
    #[test]
    fn written_headers_are_read_again(fields in any_fields(), written_elements in any_elements()) {
        let packet = written(&fields, &written_elements);
        let header = RtpHeader::read(&packet).unwrap();
        let read = HeaderFields {
            marker: header.marker(),
            payload_type: header.payload_type(),
            sequence: header.sequence(),
            timestamp: header.timestamp(),
            ssrc: header.ssrc(),
        };
        prop_assert_eq!(read, fields);
        prop_assert_eq!(header.header_len(), packet.len());
        let expected: Vec<(u8, &[u8])> =
            written_elements.iter().map(|(id, value)| (*id, &value[..])).collect();
        prop_assert_eq!(elements(&packet), expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(packet in prop::collection::vec(any::<u8>(), 0..100)) {
        classify(&packet);
        if let Ok(header) = RtpHeader::read(&packet) {
            prop_assert!(header.header_len() <= packet.len());
            let _ = (header.payload(), header.extensions().count());
        }
    }

    #[test]
    fn mutated_headers_never_panic(
        fields in any_fields(),
        written_elements in any_elements(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        kept in any::<prop::sample::Index>(),
    ) {
        let mut packet = written(&fields, &written_elements);
        for (place, value) in changes {
            let at = place.index(packet.len());
            packet[at] = value;
        }
        packet.truncate(kept.index(packet.len()) + 1);
        if let Ok(header) = RtpHeader::read(&packet) {
            prop_assert!(header.header_len() <= packet.len());
            let _ = (header.payload(), header.extensions().count());
        }
    }
}
