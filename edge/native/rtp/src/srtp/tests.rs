use proptest::prelude::*;

use super::cipher::SessionCipher;
use super::keys::{Labels, RTCP_LABELS, RTP_LABELS, SessionKeys};
use super::*;

const PROFILES: [Profile; 3] = [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmSha1_80];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn master(profile: Profile) -> MasterKey {
    let key: Vec<u8> = (0..profile.key_len() as u8).collect();
    let salt: Vec<u8> = (100..100 + profile.salt_len() as u8).collect();
    MasterKey::new(profile, &key, &salt).unwrap()
}

fn pair(profile: Profile) -> (SrtpSender, SrtpReceiver) {
    let master = master(profile);
    (SrtpSender::new(profile, &master), SrtpReceiver::new(profile, &master))
}

fn rtp(sequence: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&[1, 2, 3, 4]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn protected(sender: &SrtpSender, roc: u32, plain: &[u8], header_len: usize) -> Vec<u8> {
    let mut packet = plain.to_vec();
    packet.resize(plain.len() + sender.profile().rtp_tag_len(), 0);
    sender.protect_rtp(roc, &mut packet, header_len).unwrap();
    packet
}

/// Both directions with the session keys given, as the vectors of RFC 7714 have no master keys.
fn gcm_pair(key: &str, rtcp_index: u32) -> (SrtpSender, SrtpReceiver) {
    let key = bytes(key);
    let profile = if key.len() == 16 { Profile::AeadAes128Gcm } else { Profile::AeadAes256Gcm };
    let mut keys = SessionKeys { encryption: [0; 32], authentication: [0; 20], salt: [0; 14] };
    keys.encryption[..key.len()].copy_from_slice(&key);
    keys.salt[..12].copy_from_slice(b"Quid pro quo");
    let cipher = || SessionCipher::from_session_keys(profile, &keys);
    (
        SrtpSender::from_parts(profile, cipher(), cipher(), rtcp_index),
        SrtpReceiver::from_ciphers(profile, cipher(), cipher()),
    )
}

const KEY_128: &str = "000102030405060708090a0b0c0d0e0f";
const KEY_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

#[test]
fn session_keys_follow_rfc_3711_b_3() {
    let profile = Profile::Aes128CmSha1_80;
    let key = bytes("E1F97A0D3E018BE0D64FA32C06DE4139");
    let salt = bytes("0EC675AD498AFEEBB6960B3AABE6");
    let master = MasterKey::new(profile, &key, &salt).unwrap();
    let derive = |labels: Labels| SessionKeys::derive(profile, &master, labels);
    let rtp = derive(RTP_LABELS);
    assert_eq!(rtp.encryption[..16], bytes("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(rtp.salt[..], bytes("30CBBC08863D8C85D49DB34A9AE1"));
    assert_eq!(rtp.authentication[..], bytes("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    let rtcp = derive(RTCP_LABELS);
    assert_eq!(rtcp.encryption[..16], bytes("4C1AA45A81F73D61C800BBB00FBB1EAA"));
    assert_eq!(rtcp.authentication[..], bytes("8D54534FEB49AE8E7993A6BD0B844FC323A93DFD"));
    assert_eq!(rtcp.salt[..], bytes("9581C7AD87B3E530BF3E4454A8B3"));
}

#[test]
fn aes_cm_packet_is_that_of_other_implementations() {
    let profile = Profile::Aes128CmSha1_80;
    let key = bytes("E1F97A0D3E018BE0D64FA32C06DE4139");
    let salt = bytes("0EC675AD498AFEEBB6960B3AABE6");
    let sender = SrtpSender::new(profile, &MasterKey::new(profile, &key, &salt).unwrap());
    let plain = bytes("800f1234decafbadcafebabe abababababababababababababababab");
    let expected = bytes("800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb");
    assert_eq!(protected(&sender, 0, &plain, 12), expected);
}

#[test]
fn gcm_rtp_follows_rfc_7714_16() {
    let plain = bytes(
        "8040f17b8041f8d35501a0b2
         47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573",
    );
    let of_128 = "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a\
                  51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce";
    let of_256 = "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a02\
                  76ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13";
    for (key, expected) in [(KEY_128, of_128), (KEY_256, of_256)] {
        let (sender, mut receiver) = gcm_pair(key, 0);
        let mut packet = protected(&sender, 0, &plain, 12);
        assert_eq!(packet, bytes(expected));
        let received = receiver.unprotect_rtp(&mut packet).unwrap();
        assert_eq!(received, Received { header_len: 12, payload: 12..50, index: 0xf17b });
        assert_eq!(packet[..50], plain[..]);
    }
}

#[test]
fn gcm_rtcp_follows_rfc_7714_17() {
    let plain = bytes(
        "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61
         deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
    );
    let of_128 = "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda\
                  4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4";
    let of_256 = "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be\
                  8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4";
    for (key, expected) in [(KEY_128, of_128), (KEY_256, of_256)] {
        let (mut sender, mut receiver) = gcm_pair(key, 0x5d4);
        let mut packet = plain.clone();
        sender.protect_rtcp(&mut packet).unwrap();
        assert_eq!(packet, bytes(expected));
        let len = receiver.unprotect_rtcp(&mut packet).unwrap();
        assert_eq!(packet[..len], plain[..]);
    }
}

#[test]
fn unencrypted_rtcp_is_refused() {
    let (_, mut receiver) = gcm_pair(KEY_128, 0);
    let mut tagged = bytes(
        "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61
         deadbeefdeadbeefdeadbeefdeadbeefdeadbeef841dd9683dd78ec92ae58790125f62b3000005d4",
    );
    assert_eq!(receiver.unprotect_rtcp(&mut tagged), Err(Refused::Malformed));
}

#[test]
fn keying_material_splits_into_client_and_server() {
    for profile in PROFILES {
        let material: Vec<u8> = (0..profile.keying_material_len()).map(|byte| byte as u8).collect();
        let (client, server) = split_keying_material(profile, &material).unwrap();
        let (key, salt) = (profile.key_len(), profile.salt_len());
        let expected = |key_at: usize, salt_at: usize| {
            MasterKey::new(profile, &material[key_at..][..key], &material[salt_at..][..salt]).unwrap()
        };
        let same = |left: &MasterKey, right: &MasterKey| {
            let plain = rtp(1, 1, b"payload");
            let left = protected(&SrtpSender::new(profile, left), 0, &plain, 12);
            left == protected(&SrtpSender::new(profile, right), 0, &plain, 12)
        };
        assert!(same(&client, &expected(0, 2 * key)));
        assert!(same(&server, &expected(key, 2 * key + salt)));
        assert!(split_keying_material(profile, &material[1..]).is_err());
    }
}

#[test]
fn packets_survive_the_round_trip_in_every_profile() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let plain = rtp(7, 9, b"a payload of some length, longer than one block of the cipher");
        let mut packet = protected(&sender, 0, &plain, 12);
        assert_ne!(packet[12..plain.len()], plain[12..]);
        let received = receiver.unprotect_rtp(&mut packet).unwrap();
        assert_eq!(packet[received.payload], plain[12..]);

        let report = bytes("80c90001 01020304 81ca0003 01020304 01026162 00000000");
        let mut packet = report.clone();
        sender.protect_rtcp(&mut packet).unwrap();
        assert_eq!(packet.len(), report.len() + profile.rtcp_overhead_len());
        let len = receiver.unprotect_rtcp(&mut packet).unwrap();
        assert_eq!(packet[..len], report[..]);
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let plain = rtp(7, 9, b"payload");
        let packet = protected(&sender, 0, &plain, 12);
        let mut report = bytes("80c90001 01020304 00000000");
        sender.protect_rtcp(&mut report).unwrap();
        for bit in 0..8 * packet.len() {
            let mut forged = packet.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(receiver.unprotect_rtp(&mut forged).is_err(), "bit {bit}");
        }
        for bit in 0..8 * report.len() {
            let mut forged = report.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(receiver.unprotect_rtcp(&mut forged).is_err(), "bit {bit}");
        }
        assert!(receiver.unprotect_rtp(&mut packet.clone()).is_ok(), "forgeries leave no trace");
        assert!(receiver.unprotect_rtcp(&mut report).is_ok());
    }
}

#[test]
fn replayed_packets_are_refused() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let packet = protected(&sender, 0, &rtp(7, 9, b"payload"), 12);
        assert!(receiver.unprotect_rtp(&mut packet.clone()).is_ok());
        assert_eq!(receiver.unprotect_rtp(&mut packet.clone()), Err(Refused::Replayed));
        let mut report = bytes("80c90001 01020304");
        sender.protect_rtcp(&mut report).unwrap();
        assert!(receiver.unprotect_rtcp(&mut report.clone()).is_ok());
        assert_eq!(receiver.unprotect_rtcp(&mut report), Err(Refused::Replayed));
    }
}

#[test]
fn receiver_follows_the_rollover_and_packets_late_over_it() {
    for profile in PROFILES {
        let (sender, mut receiver) = pair(profile);
        let mut receive = |roc: u32, sequence: u16| {
            let mut packet = protected(&sender, roc, &rtp(sequence, 9, b"payload"), 12);
            receiver.unprotect_rtp(&mut packet).map(|received| received.index)
        };
        assert_eq!(receive(0, 65_534), Ok(65_534));
        assert_eq!(receive(1, 1), Ok(65_537));
        assert_eq!(receive(0, 65_535), Ok(65_535));
        assert_eq!(receive(1, 0), Ok(65_536));
        assert_eq!(receive(1, 2), Ok(65_538));
        assert_eq!(receive(2, 3), Err(Refused::Forged));
    }
}

#[test]
fn a_peer_cannot_open_streams_without_end() {
    let (sender, mut receiver) = pair(Profile::AeadAes128Gcm);
    let mut receive = |ssrc: u32, sequence: u16| {
        let mut packet = protected(&sender, 0, &rtp(sequence, ssrc, b"payload"), 12);
        receiver.unprotect_rtp(&mut packet).map(|_| ())
    };
    for ssrc in 0..MAX_STREAMS as u32 {
        assert_eq!(receive(ssrc, 1), Ok(()));
    }
    assert_eq!(receive(99, 1), Err(Refused::TooManyStreams));
    assert_eq!(receive(3, 2), Ok(()));
}

#[test]
fn padding_is_cut_off_after_decryption() {
    for profile in PROFILES {
        let (sender, mut receiver) = pair(profile);
        let mut padded = rtp(1, 9, b"ab\0\0\x03");
        padded[0] |= 0x20;
        let mut packet = protected(&sender, 0, &padded, 12);
        assert_eq!(receiver.unprotect_rtp(&mut packet).unwrap().payload, 12..14);
        let mut padded = rtp(2, 9, b"ab\0\0\x06");
        padded[0] |= 0x20;
        let mut packet = protected(&sender, 0, &padded, 12);
        assert_eq!(receiver.unprotect_rtp(&mut packet), Err(Refused::Malformed));
    }
}

#[test]
fn packets_without_room_are_not_protected() {
    for profile in PROFILES {
        let (mut sender, _) = pair(profile);
        for len in 0..12 + profile.rtp_tag_len() {
            assert!(sender.protect_rtp(0, &mut vec![0x80; len], 12).is_err());
        }
        let mut packet = vec![0x80; 60];
        assert!(sender.protect_rtp(0, &mut packet, 11).is_err());
        assert!(sender.protect_rtp(0, &mut packet, usize::MAX).is_err());
        assert!(sender.protect_rtcp(&mut vec![0x80; 7]).is_err());
    }
}

proptest! {
    #[test]
    fn arbitrary_packets_never_panic(
        mut packet in prop::collection::vec(any::<u8>(), 0..200),
        profile in prop::sample::select(&PROFILES[..]),
    ) {
        let (mut sender, mut receiver) = pair(profile);
        prop_assert!(receiver.unprotect_rtp(&mut packet.clone()).is_err());
        prop_assert!(receiver.unprotect_rtcp(&mut packet.clone()).is_err());
        let _ = sender.protect_rtp(0, &mut packet.clone(), 12);
        let _ = sender.protect_rtcp(&mut packet);
    }

    #[test]
    fn shortened_and_mutated_packets_are_refused(
        payload in prop::collection::vec(any::<u8>(), 0..200),
        cut in 1_usize..250,
        place in any::<prop::sample::Index>(),
        flip in 1_u8..,
        profile in prop::sample::select(&PROFILES[..]),
    ) {
        let (sender, mut receiver) = pair(profile);
        let packet = protected(&sender, 0, &rtp(7, 9, &payload), 12);
        let kept = packet.len().saturating_sub(cut);
        prop_assert!(receiver.unprotect_rtp(&mut packet[..kept].to_vec()).is_err());
        let mut mutated = packet.clone();
        mutated[place.index(packet.len())] ^= flip;
        prop_assert!(receiver.unprotect_rtp(&mut mutated).is_err());
        prop_assert!(receiver.unprotect_rtp(&mut packet.clone()).is_ok());
    }
}
