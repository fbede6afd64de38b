//! Offers of real clients are answered as these clients expect.

#[path = "support/sdp_answers.rs"]
mod sdp_answers;

use farstage_fanout::sdp::{
    CAPTURE_TIME_URI, Direction, Kind, Offer, PLAYOUT_DELAY_URI, SEND_TIME_URI, Setup, TRANSPORT_CC_URI, answer,
};
use sdp_answers::{
    AIORTC, CHROMIUM, FFMPEG_WHIP, FIREFOX, GSTREAMER, LIBDATACHANNEL, SAFARI, VIEWERS, agree, check_answer, crlf,
    h264, local, read, wanted,
};

#[test]
fn every_client_gets_an_answer_to_each_of_its_sections_in_order() {
    for (client, text) in VIEWERS {
        let offer = Offer::parse(&crlf(text)).unwrap_or_else(|error| panic!("{client}: {error}"));
        let (answer, agreement) = answer(&offer, &h264(), &local()).unwrap_or_else(|error| panic!("{client}: {error}"));
        check_answer(&offer, &answer).unwrap_or_else(|why| panic!("{client}: {why}\n{answer}"));
        let (_, sections) = read(&answer).unwrap();
        assert!(sections.iter().all(|section| section.port == 9), "{client}: each section is accepted");
        assert!(!agreement.starts_dtls, "{client}: it starts the handshake");
        assert!(sections.iter().all(|section| section.value("setup") == Some("passive")), "{client}");
    }
}

#[test]
fn each_clients_payload_types_and_extensions_are_found() {
    // Client; H.264 and its repeats, VP8 and its repeats; transport-cc, send time, playout delay; Opus; data.
    type Found = (u8, Option<u8>, Option<(u8, Option<u8>)>, [Option<u8>; 3], u8, bool);
    let expected: [(&str, &str, Found); 6] = [
        ("Chromium", CHROMIUM, (108, Some(109), Some((96, Some(97))), [Some(4), None, Some(5)], 111, true)),
        ("Firefox", FIREFOX, (126, Some(127), Some((120, Some(124))), [Some(7), None, Some(6)], 109, true)),
        ("Safari", SAFARI, (98, Some(99), Some((104, Some(105))), [Some(4), None, Some(5)], 111, true)),
        ("aiortc", AIORTC, (101, Some(102), Some((97, Some(98))), [None, Some(3), None], 96, true)),
        ("GStreamer", GSTREAMER, (101, None, Some((102, Some(103))), [Some(1), None, None], 97, false)),
        ("libdatachannel", LIBDATACHANNEL, (96, None, None, [None, None, None], 111, true)),
    ];
    for (client, text, (payload, rtx, vp8, extensions, opus, data)) in expected {
        let (_, agreement) = agree(text, &h264());
        let video = agreement.video;
        assert_eq!((video.payload, video.rtx_payload), (payload, rtx), "{client}");
        assert_eq!([video.transport_cc, video.send_time, video.playout_delay], extensions, "{client}");
        assert_eq!(agreement.audio.map(|audio| audio.payload), Some(opus), "{client}");
        assert_eq!(agreement.data, data, "{client}");
        let offer = Offer::parse(&crlf(text)).unwrap();
        let agreed = answer(&offer, &wanted("VP8", &[]), &local()).ok();
        let agreed = agreed.map(|(_, agreement)| (agreement.video.payload, agreement.video.rtx_payload));
        assert_eq!(agreed, vp8, "{client}");
    }
}

#[test]
fn a_publisher_is_told_that_viewers_are_answered_here() {
    let refused = Offer::parse(&crlf(FFMPEG_WHIP)).unwrap_err();
    assert_eq!(refused.to_string(), "the video section must receive: a=recvonly or a=sendrecv");
}

#[test]
fn lines_may_end_with_or_without_a_carriage_return() {
    for (client, text) in VIEWERS {
        assert_eq!(Offer::parse(text), Offer::parse(&crlf(text)), "{client}");
    }
}

#[test]
fn credentials_and_fingerprint_are_found_at_session_and_at_media_level() {
    let chromium = Offer::parse(CHROMIUM).unwrap();
    assert_eq!((chromium.ufrag.as_str(), chromium.password.as_str()), ("aD2T", "jJo/9btVToVkp7lSCoMr+KDA"));
    assert_eq!(chromium.fingerprint[..4], [0x39, 0x56, 0x19, 0x15]);
    let firefox = Offer::parse(FIREFOX).unwrap();
    assert_eq!((firefox.ufrag.as_str(), firefox.fingerprint[31]), ("3a9c4f10", 0x08));
    assert_eq!(Offer::parse(AIORTC).unwrap().fingerprint[..2], [0x26, 0xEA], "SHA-256 among other hashes");
    assert_eq!(chromium.setup, Setup::ActPass);
}

#[test]
fn directions_are_read_and_turned_round() {
    for (offered, direction, answered, sends, receives) in [
        ("sendrecv", Direction::SendRecv, "sendrecv", true, true),
        ("recvonly", Direction::RecvOnly, "sendonly", true, false),
        ("sendonly", Direction::SendOnly, "recvonly", false, true),
        ("inactive", Direction::Inactive, "inactive", false, false),
    ] {
        let text = CHROMIUM.replace("a=sendrecv", &format!("a={offered}"));
        let offer = Offer::parse(&text).unwrap();
        assert_eq!(offer.section(Kind::Audio).unwrap().direction, direction);
        let (answer, agreement) = agree(&text, &h264());
        let audio = agreement.audio.unwrap();
        assert_eq!((audio.sends, audio.receives), (sends, receives), "{offered}");
        let (_, sections) = read(&answer).unwrap();
        assert!(sections[1].value(answered).is_some(), "{offered}");
        assert_eq!(sections[1].value("ssrc").is_some(), sends, "{offered}");
        assert!(sections[0].value("sendonly").is_some());
    }
}

#[test]
fn the_profile_that_fits_best_is_chosen_with_fragments_if_possible() {
    for (profiles, payload) in [
        (&["42e0"][..], 108),
        (&["4200", "42e0"], 102),
        (&["4d00"], 116),
        (&["f400"], 41),
        (&["6400", "42e0"], 108),
        (&["42E0"], 108),
    ] {
        let lower: Vec<String> = profiles.iter().map(|profile| profile.to_ascii_lowercase()).collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        assert_eq!(agree(CHROMIUM, &wanted("H264", &lower)).1.video.payload, payload, "{profiles:?}");
    }
    assert_eq!(agree(CHROMIUM, &wanted("h264", &[])).1.video.payload, 102, "any will do");
    assert_eq!(agree(CHROMIUM, &wanted("AV1", &[])).1.video.payload, 45);
    let single = CHROMIUM
        .replace("packetization-mode=1;profile-level-id=42e01f", "packetization-mode=0;profile-level-id=42e01f");
    assert_eq!(
        agree(&single, &wanted("H264", &["42e0"])).1.video.payload,
        108,
        "the first, without one that fragments"
    );
}

#[test]
fn a_codec_that_was_not_offered_is_refused_by_name() {
    let offer = Offer::parse(LIBDATACHANNEL).unwrap();
    let refused = answer(&offer, &wanted("AV1", &[]), &local()).unwrap_err();
    assert_eq!(refused.to_string(), "the offer has no payload type for AV1, which the stream has");
    let refused = answer(&offer, &wanted("H264", &["6400"]), &local()).unwrap_err();
    assert_eq!(refused.to_string(), "the offer has no payload type for H264 [\"6400\"], which the stream has");
}

#[test]
fn the_answer_names_every_way_to_the_edge() {
    let (text, _) = agree(CHROMIUM, &h264());
    assert!(text.contains("\r\na=ice-lite\r\n"));
    let (_, sections) = read(&text).unwrap();
    for section in &sections {
        let candidates = section.values("candidate");
        assert_eq!(candidates.len(), 3);
        let priority = |at: usize| candidates[at].split(' ').nth(3).unwrap().parse::<u32>().unwrap();
        assert!(candidates[0].contains(" udp ") && candidates[0].ends_with(" 198.51.100.1 3478 typ host"));
        assert!(candidates[1].contains(" udp ") && candidates[1].ends_with(" 2001:db8::1 3478 typ host"));
        assert!(candidates[2].contains(" tcp ") && candidates[2].ends_with(" 3478 typ host tcptype passive"));
        assert!(priority(0) > priority(1) && priority(1) > priority(2), "TCP is the last resort");
        assert_eq!(section.value("ice-ufrag"), Some("edgeUfrg"));
        assert_eq!(section.value("ice-pwd"), Some("PassWordOfTheEdge/0123+x"));
        assert_eq!(section.value("fingerprint"), Some(format!("sha-256 {}", vec!["AB"; 32].join(":")).as_str()));
        assert!(section.value("end-of-candidates").is_some());
    }
}

#[test]
fn repeats_and_their_ssrc_are_named_where_they_were_offered() {
    let (text, _) = agree(CHROMIUM, &h264());
    let (_, sections) = read(&text).unwrap();
    assert_eq!(sections[0].formats, ["108", "109"]);
    assert_eq!(sections[0].value("ssrc-group"), Some("FID 101 102"));
    assert!(sections[0].values("fmtp").contains(&"109 apt=108"));
    let (text, agreement) = agree(LIBDATACHANNEL, &h264());
    let (_, sections) = read(&text).unwrap();
    assert!(sections[0].value("ssrc-group").is_none() && agreement.video.rtx_payload.is_none());
    assert!(sections[0].values("ssrc").iter().all(|ssrc| ssrc.starts_with("101 ")));
}

#[test]
fn feedback_is_agreed_to_as_far_as_it_is_used() {
    let (text, _) = agree(CHROMIUM, &h264());
    let (_, sections) = read(&text).unwrap();
    let mut feedback = sections[0].values("rtcp-fb");
    feedback.sort_unstable();
    let expected = ["108 ccm fir", "108 goog-remb", "108 nack", "108 nack pli", "108 transport-cc"];
    assert_eq!(feedback, expected);
    assert!(sections[1].values("rtcp-fb").is_empty(), "the sound has no transport-wide numbers");
    let without_map = CHROMIUM.replace(TRANSPORT_CC_URI, "urn:other");
    let (text, agreement) = agree(&without_map, &h264());
    assert!(agreement.video.transport_cc.is_none() && !text.contains("transport-cc"));
    let without_feedback = CHROMIUM.replace("transport-cc\n", "other\n");
    let (text, agreement) = agree(&without_feedback, &h264());
    assert!(agreement.video.transport_cc.is_none() && !text.contains(TRANSPORT_CC_URI));
    assert_eq!(agreement.video.send_time, Some(2), "the receiver estimates for itself");
    assert!(text.contains(&format!("a=extmap:2 {SEND_TIME_URI}\r\n")));
}

#[test]
fn feedback_for_all_payload_types_counts_for_each() {
    let text = LIBDATACHANNEL
        .replace("a=rtcp-fb:96 nack\n", "a=rtcp-fb:* transport-cc\n")
        .replace("a=mid:v\n", &format!("a=mid:v\na=extmap:3 {TRANSPORT_CC_URI}\n"));
    assert_eq!(agree(&text, &h264()).1.video.transport_cc, Some(3));
}

#[test]
fn extensions_beyond_the_one_byte_form_are_not_agreed_to() {
    for (id, agreed) in [("1", Some(1)), ("14", Some(14)), ("0", None), ("15", None), ("200", None), ("300", None)] {
        let text =
            CHROMIUM.replace(&format!("a=extmap:5 {PLAYOUT_DELAY_URI}"), &format!("a=extmap:{id} {PLAYOUT_DELAY_URI}"));
        assert_eq!(agree(&text, &h264()).1.video.playout_delay, agreed, "{id}");
    }
    let text = CHROMIUM.replace("a=extmap:8 ", &format!("a=extmap:13/recvonly {CAPTURE_TIME_URI}\na=extmap:8 "));
    assert_eq!(agree(&text, &h264()).1.video.capture_time, Some(13));
}

#[test]
fn who_waits_for_the_handshake_is_asked_to_it() {
    for (setup, answered, starts) in
        [("actpass", "passive", false), ("active", "passive", false), ("passive", "active", true)]
    {
        let text = CHROMIUM.replace("a=setup:actpass", &format!("a=setup:{setup}"));
        let (answer, agreement) = agree(&text, &h264());
        assert_eq!(agreement.starts_dtls, starts, "{setup}");
        let (_, sections) = read(&answer).unwrap();
        assert!(sections.iter().all(|section| section.value("setup") == Some(answered)), "{setup}");
    }
}

#[test]
fn further_sections_of_a_kind_and_unknown_ones_are_rejected_and_left_out_of_the_bundle() {
    let mut text = CHROMIUM.replace("a=group:BUNDLE 0 1 2", "a=group:BUNDLE 0 1 2 3 4 5");
    for (media, mid) in
        [("video 9 UDP/TLS/RTP/SAVPF 96 97", 3), ("text 9 UDP/TLS/RTP/SAVPF 98", 4), ("application 9 RTP/AVP 99", 5)]
    {
        text.push_str(&format!("m={media}\na=mid:{mid}\na=recvonly\n"));
    }
    let offer = Offer::parse(&text).unwrap();
    let (answer, _) = agree(&text, &h264());
    check_answer(&offer, &answer).unwrap();
    let (session, sections) = read(&answer).unwrap();
    assert!(session.contains(&("group".to_owned(), "BUNDLE 0 1 2".to_owned())));
    let rejected: Vec<(&str, &[String])> =
        sections[3..].iter().map(|section| (section.media.as_str(), section.formats.as_slice())).collect();
    let formats = [vec!["96".to_owned(), "97".to_owned()], vec!["98".to_owned()], vec!["99".to_owned()]];
    assert_eq!(rejected, [("video", &formats[0][..]), ("text", &formats[1]), ("application", &formats[2])]);
    assert!(sections[3..].iter().all(|section| section.port == 0));
}

#[test]
fn sound_without_opus_is_rejected_and_the_picture_is_not() {
    let text = CHROMIUM.replace("opus/48000/2", "speex/16000");
    let offer = Offer::parse(&text).unwrap();
    let (answer, agreement) = agree(&text, &h264());
    check_answer(&offer, &answer).unwrap();
    assert!(agreement.audio.is_none() && agreement.data);
    assert_eq!(read(&answer).unwrap().1[1].port, 0);
}

#[test]
fn a_single_section_needs_no_bundle() {
    let video = CHROMIUM.split("m=audio").next().unwrap().replace("a=group:BUNDLE 0 1 2\n", "");
    let offer = Offer::parse(&video).unwrap();
    check_answer(&offer, &agree(&video, &h264()).0).unwrap();
}
