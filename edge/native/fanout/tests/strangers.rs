//! Datagrams of those who proved nothing: dropped, counted, never answered, and no matter to those who did.

mod support;

use std::collections::HashMap;
use std::net::SocketAddr;

use aws_lc_rs::hmac;
use farstage_fanout::outlet::Path;
use farstage_transport::stun::{self, Class, IntegrityKey};
use proptest::prelude::*;
use support::world::STREAM;
use support::{Offering, World};

fn elsewhere(number: u16) -> Path {
    Path::Udp(0, SocketAddr::from(([203, 0, 113, 9], 10_000 + number)))
}

/// A binding request without MESSAGE-INTEGRITY, with whatever attributes.
fn unsigned_request(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    message.extend([9; 12]);
    for (kind, value) in attributes {
        message.extend(kind.to_be_bytes());
        message.extend((value.len() as u16).to_be_bytes());
        message.extend(*value);
        message.resize(message.len().next_multiple_of(4), 0);
    }
    let length = (message.len() - 20) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    message
}

#[test]
fn a_check_that_was_not_made_with_the_password_is_refused_before_and_after_the_viewer_comes() {
    let mut world = World::new();
    let viewer = world.admit(Offering::default(), STREAM);
    let (ufrag, password) = (world.viewers[viewer].answer.ufrag.clone(), world.viewers[viewer].answer.password.clone());
    let username = format!("{ufrag}:{}", world.viewers[viewer].offering.ufrag);
    let forged = |world: &mut World| {
        let client = &mut world.viewers[viewer];
        [
            ("a wrong password", client.signed_request(&username, "not the password", true)),
            ("an empty password", client.signed_request(&username, "", true)),
            ("the viewer's own password", client.signed_request(&username, "jJo/9btVToVkp7lSCoMr+KDA", true)),
            ("an unknown fragment", client.signed_request("nobody:aD2T", &password, true)),
            ("only our fragment", client.signed_request(&ufrag, &password, true)),
            ("another viewer's fragment", client.signed_request(&format!("{ufrag}:else"), &password, true)),
            ("no integrity", unsigned_request(&[(0x0006, username.as_bytes())])),
            ("no name", unsigned_request(&[])),
        ]
    };
    let before = forged(&mut world);
    for (at, (case, request)) in before.iter().enumerate() {
        let refused = world.counters().stun_refused;
        assert_eq!(world.poke(elsewhere(at as u16), request), [], "{case}, before");
        assert_eq!(world.counters().stun_refused, refused + 1, "{case}, before");
    }
    world.connect(viewer);
    let after = forged(&mut world);
    for (at, (case, request)) in after.iter().enumerate() {
        let refused = world.counters().stun_refused;
        assert_eq!(world.poke(elsewhere(at as u16), request), [], "{case}, after");
        assert_eq!(world.counters().stun_refused, refused + 1, "{case}, after");
    }
    let sent = world.play(STREAM, 3, 10_000, true);
    assert_eq!(world.pictures_of(viewer, STREAM), sent, "the stream has not moved");
}

#[test]
fn a_check_that_is_answered_is_larger_than_its_answer() {
    let mut world = World::new();
    let viewer = world.admit(Offering::default(), STREAM);
    let v6 = Path::Udp(1, "[2001:db8::7]:40000".parse().expect("an address"));
    for path in [elsewhere(0), v6] {
        let request = world.viewers[viewer].check_request(true);
        let answers = world.poke(path, &request);
        assert_eq!(answers.len(), 1);
        let (to, answer) = &answers[0];
        assert!(*to == path && answer.len() <= request.len(), "{} for {}", answer.len(), request.len());
        let message = stun::parse(answer).expect("a STUN message");
        assert_eq!((message.class, message.mapped_address), (Class::Success, Some(path.address())));
        assert!(message.verify(&IntegrityKey::new(world.viewers[viewer].answer.password.as_bytes())));
        assert_eq!(message.transaction_id, stun::parse(&request).expect("a request").transaction_id);
    }
}

#[test]
fn answers_and_indications_are_not_answered() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let key = IntegrityKey::new(world.viewers[viewer].answer.password.as_bytes());
    let path = world.viewers[viewer].path;
    let mut answer = Vec::new();
    stun::write_binding_success(&mut answer, stun::TransactionId([3; 12]), path.address(), &key);
    let mut indication = world.viewers[viewer].check_request(true);
    indication[1] = 0x11;
    for message in [answer, indication] {
        for path in [path, elsewhere(1)] {
            assert_eq!(world.poke(path, &message), []);
        }
    }
    assert_eq!(world.counters().stun_refused, 4);
}

#[test]
fn a_request_with_an_attribute_that_must_be_understood_is_refused_and_signed() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let client = &world.viewers[viewer];
    let (path, password) = (client.path, client.answer.password.clone());
    let username = format!("{}:{}", client.answer.ufrag, client.offering.ufrag);
    let mut request = unsigned_request(&[(0x0006, username.as_bytes()), (0x0031, &[1, 2, 3, 4])]);
    let length = (request.len() - 20 + 24) as u16;
    request[2..4].copy_from_slice(&length.to_be_bytes());
    let code = sign(&password, &request);
    request.extend([0, 8, 0, 20]);
    request.extend(code);
    let answers = world.poke(path, &request);
    let message = stun::parse(&answers[0].1).expect("a STUN message");
    assert_eq!((message.class, message.error_code), (Class::Error, Some(420)));
    assert!(message.verify(&IntegrityKey::new(password.as_bytes())));
}

/// MESSAGE-INTEGRITY (RFC 8489, section 14.5).
fn sign(password: &str, message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    hmac::sign(&key, message).as_ref().to_vec()
}

#[test]
fn dtls_from_an_address_that_proved_nothing_starts_nothing() {
    let mut world = World::new();
    let viewer = world.admit(Offering::default(), STREAM);
    world.viewers[viewer].start_dtls(world.now);
    let hello = world.viewers[viewer].take_outgoing();
    assert!(!hello.is_empty());
    for (path, datagram) in &hello {
        assert_eq!(world.poke(*path, datagram), []);
    }
    assert_eq!(world.counters().strangers, hello.len() as u64);
    let request = world.viewers[viewer].check_request(true);
    let path = world.viewers[viewer].path;
    assert_eq!(world.poke(path, &request).len(), 1);
    for (_, datagram) in &hello {
        assert_eq!(world.poke(elsewhere(3), datagram), [], "another address proves nothing by that");
    }
    let answers = hello.iter().flat_map(|(path, datagram)| world.poke(*path, datagram)).collect::<Vec<_>>();
    assert!(!answers.is_empty(), "the address that was checked is answered");
}

#[test]
fn a_viewers_own_packets_from_an_unproved_address_are_strangers() {
    let mut world = World::new();
    let viewer = world.join_usual();
    world.play(STREAM, 3, 10_000, true);
    let lost = world.viewers[viewer].video[0].sequence;
    world.viewers[viewer].nack(&[lost]);
    let (path, nack) = world.viewers[viewer].take_outgoing().remove(0);
    assert_eq!(world.poke(elsewhere(4), &nack), []);
    assert_eq!(world.counters().strangers, 1);
    assert_eq!(world.poke(path, &nack).len(), 1, "from its own address it is answered");
}

#[test]
fn forged_and_replayed_media_packets_are_counted_and_change_nothing() {
    let mut world = World::new();
    let viewer = world.join(Offering { audio: Some("sendrecv"), ..Offering::default() }, STREAM);
    world.play(STREAM, 3, 10_000, true);
    let path = world.viewers[viewer].path;
    world.viewers[viewer].pli();
    let (_, pli) = world.viewers[viewer].take_outgoing().remove(0);
    world.poke(path, &pli);
    let before = (world.row(viewer), world.keyframes_asked());
    let voice = world.viewers[viewer].voice_packet(1, 960, 111, b"opus");
    world.poke(path, &voice);
    let mut changed = pli.clone();
    *changed.last_mut().expect("bytes") ^= 1;
    let mut forged_voice = voice.clone();
    forged_voice[14] ^= 1;
    let cases = [
        ("replayed RTCP", pli.clone()),
        ("changed RTCP", changed),
        ("cut RTCP", pli[..10].to_vec()),
        ("replayed RTP", voice.clone()),
        ("changed RTP", forged_voice),
        ("cut RTP", voice[..20].to_vec()),
        ("an RTP header alone", voice[..12].to_vec()),
        ("two bytes of RTP", vec![0x80, 111]),
        ("two bytes of RTCP", vec![0x80, 200]),
    ];
    for (at, (case, datagram)) in cases.iter().enumerate() {
        assert_eq!(world.poke(path, datagram), [], "{case}");
        assert_eq!(world.counters().srtp_refused, at as u64 + 1, "{case}");
    }
    world.events.retain(|event| !matches!(event, farstage_fanout::events::Event::Voice(..)));
    assert_eq!((world.row(viewer).keyframe_requests, world.keyframes_asked()), (before.0.keyframe_requests, before.1));
    let sent = world.play(STREAM, 3, 10_000, false);
    assert!(world.pictures_of(viewer, STREAM).ends_with(&sent));
}

#[test]
fn malformed_feedback_of_a_viewer_is_counted_and_its_good_part_used() {
    let mut world = World::new();
    let viewer = world.join_usual();
    world.run(std::time::Duration::from_secs(1));
    let (ssrc, asked) = (world.viewers[viewer].answer.video_ssrc.to_be_bytes(), world.keyframes_asked());
    let pli = [&[0x81, 206, 0, 2, 0, 0, 0, 1][..], &ssrc].concat();
    let truncated_nack = [&[0x81, 205, 0, 9, 0, 0, 0, 1][..], &ssrc].concat();
    world.viewers[viewer].rtcp([pli, truncated_nack].concat());
    world.settle();
    assert_eq!(world.counters().rtcp_malformed, 1);
    assert_eq!(world.keyframes_asked(), asked + 1);
    assert_eq!(world.counters().srtp_refused, 0);
}

#[test]
fn a_flood_of_strangers_leaves_the_viewers_picture_alone() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let mut sent = Vec::new();
    for round in 0..50_u16 {
        sent.extend(world.play(STREAM, 1, 10_000, round == 0));
        for number in 0..100 {
            let noise = support::world::noise(u64::from(round) << 16 | u64::from(number), 60);
            assert_eq!(world.poke(elsewhere(number), &noise), []);
        }
    }
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
}

/// A world with a viewer that has come and one that has not, and what strangers may send to it.
fn targets() -> (World, usize) {
    let mut world = World::new();
    let viewer = world.join_usual();
    world.admit(Offering::default(), STREAM);
    (world, viewer)
}

proptest! {
    #[test]
    fn no_random_datagram_is_answered(datagrams in proptest::collection::vec(
        (proptest::collection::vec(any::<u8>(), 0..200), 0_u8..4), 1..20,
    )) {
        thread_local!(static WORLD: std::cell::RefCell<(World, usize)> = std::cell::RefCell::new(targets()));
        WORLD.with_borrow_mut(|(world, viewer)| {
            let heads: HashMap<u8, &[u8]> =
                [(1, &[0, 1][..]), (2, &[22, 254, 253][..]), (3, &[0x80, 0xC8][..])].into_iter().collect();
            for (mut datagram, kind) in datagrams {
                let head = heads.get(&kind).copied().unwrap_or_default();
                datagram.splice(..head.len().min(datagram.len()), head.iter().copied());
                let before = world.counters();
                prop_assert_eq!(world.poke(elsewhere(7), &datagram), vec![]);
                let after = world.counters();
                let counted = |counters: farstage_fanout::events::Counters| counters.strangers + counters.stun_refused;
                prop_assert_eq!(counted(after), counted(before) + 1);
                prop_assert!(world.viewers[*viewer].connected && world.rows().len() == 1);
            }
            Ok(())
        })?;
    }

    #[test]
    fn no_changed_check_is_answered_or_moves_the_stream(bit in 0_usize..96 * 8) {
        thread_local!(static WORLD: std::cell::RefCell<(World, usize)> = std::cell::RefCell::new(targets()));
        WORLD.with_borrow_mut(|(world, viewer)| {
            let mut request = world.viewers[*viewer].check_request(true);
            // The fingerprint behind the integrity is no secret: made right again, so that the integrity decides.
            let body = request.len() - 8;
            let bit = bit % (body * 8);
            request[bit / 8] ^= 1 << (bit % 8);
            let checksum = (crc32(&request[..body]) ^ 0x5354_554E).to_be_bytes();
            request[body + 4..].copy_from_slice(&checksum);
            prop_assert_eq!(world.poke(elsewhere(8), &request), vec![]);
            Ok(())
        })?;
    }

    #[test]
    fn any_datagram_of_a_proved_address_is_survived(datagrams in proptest::collection::vec(
        (proptest::collection::vec(any::<u8>(), 1..200), 0_u8..4), 1..20,
    )) {
        thread_local!(static WORLD: std::cell::RefCell<(World, usize)> = std::cell::RefCell::new(targets()));
        WORLD.with_borrow_mut(|(world, viewer)| {
            let path = world.viewers[*viewer].path;
            for (mut datagram, kind) in datagrams {
                datagram[0] = [datagram[0], 22, 0x80, 0x90][usize::from(kind)];
                world.poke(path, &datagram);
            }
            prop_assert_eq!(world.rows().len(), 1, "garbage ends no connection");
            Ok(())
        })?;
    }
}

/// CRC-32 of STUN's FINGERPRINT (RFC 8489, section 14.7).
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}
