use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

const ID: TransactionId = TransactionId([0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae]);
const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

/// RFC 5769 section 2.1.
const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74\
    002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5\
    b2d3f249c1b571a280280004e57a3bcf";
/// RFC 5769 section 2.2.
const RESPONSE_IPV4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
    002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
/// RFC 5769 section 2.3.
const RESPONSE_IPV6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
    002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed41\
    80280004c8fb0b4c";

fn octets(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<u32> = hexadecimal.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn key() -> IntegrityKey {
    IntegrityKey::new(PASSWORD)
}

#[test]
fn reads_the_published_request() {
    let datagram = octets(REQUEST);
    let message = parse(&datagram).unwrap();
    assert_eq!(message.class, Class::Request);
    assert_eq!(message.transaction_id, ID);
    assert_eq!(message.username_fragments(), Some((&b"evtj"[..], &b"h6vY"[..])));
    assert_eq!(message.priority, Some(0x6e00_01ff));
    assert_eq!(message.role, Some(IceRole::Controlled(0x932f_f9b1_5126_3b36)));
    assert!(message.has_fingerprint && !message.use_candidate && message.unknown_required.is_empty());
    assert!(message.verify(&key()));
    assert!(!message.verify(&IntegrityKey::new(b"wrong")));
}

#[test]
fn reads_the_published_responses() {
    for (published, address) in
        [(RESPONSE_IPV4, "192.0.2.1:32853"), (RESPONSE_IPV6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let datagram = octets(published);
        let message = parse(&datagram).unwrap();
        assert_eq!(message.class, Class::Success);
        assert_eq!(message.mapped_address, Some(address.parse().unwrap()));
        assert!(message.verify(&key()));
    }
}

#[test]
fn reads_back_what_it_writes() {
    let request = BindingRequest {
        transaction_id: ID,
        username: b"evtj:h6vY!",
        priority: 1_853_824_767,
        role: IceRole::Controlling(7),
        use_candidate: true,
    };
    let mut out = b"prefix".to_vec();
    write_binding_request(&mut out, &request, &key());
    let message = parse(&out[6..]).unwrap();
    assert_eq!((message.username, message.role), (Some(request.username), Some(request.role)));
    assert_eq!((message.priority, message.use_candidate), (Some(request.priority), true));
    assert!(message.verify(&key()) && message.has_fingerprint);
}

#[test]
fn writes_both_address_families() {
    for address in ["192.0.2.1:32853", "[2001:db8::1]:1"] {
        let address: SocketAddr = address.parse().unwrap();
        let mut out = Vec::new();
        write_binding_success(&mut out, ID, address, &key());
        let message = parse(&out).unwrap();
        assert_eq!((message.class, message.mapped_address), (Class::Success, Some(address)));
        assert!(message.verify(&key()));
    }
    let mut out = Vec::new();
    write_binding_success(&mut out, ID, "[::ffff:192.0.2.1]:9".parse().unwrap(), &key());
    assert_eq!(parse(&out).unwrap().mapped_address, Some("192.0.2.1:9".parse().unwrap()));
}

#[test]
fn writes_errors_with_and_without_integrity() {
    for (code, unknown, key) in [(487, &[][..], Some(&key())), (420, &[0x0031, 0x0032, 0x0033][..], None)] {
        let mut out = Vec::new();
        write_binding_error(&mut out, ID, code, unknown, key);
        let message = parse(&out).unwrap();
        assert_eq!((message.class, message.error_code), (Class::Error, Some(code)));
        assert_eq!(message.has_integrity(), key.is_some());
        assert!(key.is_none_or(|key| message.verify(key)));
    }
}

#[test]
fn reports_attributes_it_must_understand_and_does_not() {
    let datagram = octets("000100102112a442b7e7a701bc34d686fa87dfae00310004000000008031000400000000");
    let message = parse(&datagram).unwrap();
    assert_eq!(message.unknown_required.types(), [0x0031]);
    assert!(!message.verify(&key()));
}

#[test]
fn ignores_what_follows_the_integrity() {
    let mut datagram = octets(REQUEST);
    datagram.truncate(datagram.len() - 8);
    datagram.extend_from_slice(&[0x00, 0x25, 0, 0]);
    let length = (datagram.len() - HEADER_LENGTH) as u16;
    datagram[2..4].copy_from_slice(&length.to_be_bytes());
    let message = parse(&datagram).unwrap();
    assert!(!message.use_candidate && message.verify(&key()));
}

#[test]
fn refuses_what_is_malformed() {
    let good = octets(REQUEST);
    let changed = |index: usize, value: u8| {
        let mut datagram = good.clone();
        datagram[index] = value;
        parse(&datagram).err()
    };
    assert_eq!(parse(&good[..19]).err(), Some(StunError::NotStun));
    assert_eq!(changed(4, 0x20), Some(StunError::NotStun));
    assert_eq!(changed(0, 0x80), Some(StunError::NotStun));
    assert_eq!(changed(1, 0x03), Some(StunError::Method));
    assert_eq!(changed(3, 0x54), Some(StunError::Length));
    assert_eq!(changed(23, 0xff), Some(StunError::AttributeLength));
    assert_eq!(changed(43, 0x03), Some(StunError::AttributeValue));
    assert_eq!(changed(107, 0xce), Some(StunError::Fingerprint));
    assert_eq!(parse(&good[..good.len() - 4]).err(), Some(StunError::Length));
}

proptest! {
    #[test]
    fn takes_any_datagram_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&body);
        let mut datagram = octets(REQUEST)[..HEADER_LENGTH].to_vec();
        datagram.extend_from_slice(&body);
        datagram.resize(datagram.len().next_multiple_of(4), 0);
        let length = (datagram.len() - HEADER_LENGTH) as u16;
        datagram[2..4].copy_from_slice(&length.to_be_bytes());
        if let Ok(message) = parse(&datagram) {
            prop_assert!(!message.verify(&key()));
        }
    }

    #[test]
    fn any_changed_bit_of_a_signed_message_is_noticed(bit in 0usize..100 * 8) {
        let mut datagram = octets(REQUEST);
        datagram[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!parse(&datagram).is_ok_and(|message| message.verify(&key())));
    }
}
