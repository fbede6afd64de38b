//! Offers of real publishers are answered as these clients expect.

#[path = "support/sdp_answers.rs"]
mod sdp_answers;

use farstage_fanout::sdp::{
    MID_URI, Offer, REPAIRED_RID_URI, RID_URI, SdpError, TRANSPORT_CC_URI, Wanted, answer_publisher,
};
use farstage_rtp::packetize::Codec;
use sdp_answers::{
    CHROMIUM, CHROMIUM_WHIP, FFMPEG_WHIP, GSTREAMER_WHIP, OBS_SIMULCAST, OBS_WHIP, PUBLISHERS, VIEWERS,
    agree_to_publish, check_answer, crlf, h264, local, read, wanted,
};

/// H.264 that every decoder plays, as the bits of different encoders say it.
fn baseline() -> Wanted {
    wanted("H264", &["42e0", "42c0", "4200"])
}

fn refusal(text: &str, encoding: &str, profiles: &[&str]) -> Result<(), SdpError> {
    let offer = Offer::parse_published(&crlf(text))?;
    answer_publisher(&offer, &wanted(encoding, profiles), 3, &local()).map(drop)
}

#[test]
fn every_publisher_gets_an_answer_that_receives_and_names_no_source() {
    for (client, text) in PUBLISHERS {
        let offer = Offer::parse_published(&crlf(text)).unwrap_or_else(|error| panic!("{client}: {error}"));
        let (answer, agreement) = agree_to_publish(text, &baseline());
        check_answer(&offer, &answer).unwrap_or_else(|why| panic!("{client}: {why}\n{answer}"));
        let (session, sections) = read(&answer).unwrap();
        assert!(session.iter().any(|(name, _)| name == "ice-lite"));
        for section in &sections {
            assert_eq!(section.port, 9, "{client}: each section is accepted");
            assert!(section.value("recvonly").is_some() && section.value("rtcp-mux").is_some(), "{client}");
            assert!(section.value("ssrc").is_none() && section.value("msid").is_none(), "{client}");
            let setup = if client == "FFmpeg" { "active" } else { "passive" };
            assert_eq!(section.value("setup"), Some(setup), "{client}");
        }
        assert_eq!(agreement.starts_dtls, client == "FFmpeg");
        assert_eq!(agreement.codec, Codec::H264, "{client}");
    }
}

#[test]
fn each_publishers_payload_types_layers_and_extensions_are_found() {
    // Client: H.264, its repeats, whether lost packets come again, Opus, layers, extensions mid, rid, repaired, arrivals.
    type Found = (u8, Option<u8>, bool, Option<u8>, usize, [Option<u8>; 4]);
    let expected: [(&str, Found); 6] = [
        ("Chromium", (108, Some(109), true, Some(111), 3, [Some(9), Some(10), Some(11), Some(4)])),
        ("aiortc", (101, Some(102), true, Some(96), 1, [Some(1), None, None, None])),
        ("GStreamer", (98, Some(99), true, Some(101), 1, [None, None, None, Some(1)])),
        ("OBS", (96, None, true, Some(111), 1, [None; 4])),
        ("OBS with simulcast", (96, None, true, Some(111), 3, [Some(1), Some(2), None, None])),
        ("FFmpeg", (106, Some(105), true, Some(111), 1, [None; 4])),
    ];
    for ((client, text), (name, found)) in PUBLISHERS.iter().zip(expected) {
        assert_eq!(*client, name);
        let (_, agreed) = agree_to_publish(text, &baseline());
        let extensions = [agreed.mid, agreed.rid, agreed.repaired_rid, agreed.transport_cc];
        let layers = agreed.layers();
        let of = (agreed.payload, agreed.rtx_payload, agreed.repeats, agreed.audio_payload, layers, extensions);
        assert_eq!(of, found, "{client}");
    }
    assert_eq!(agree_to_publish(CHROMIUM_WHIP, &wanted("VP8", &[])).1.payload, 96);
    assert_eq!(agree_to_publish(CHROMIUM_WHIP, &wanted("AV1", &[])).1.codec, Codec::Av1);
    assert_eq!(agree_to_publish(GSTREAMER_WHIP, &wanted("AV1", &[])).1.payload, 100);
}

#[test]
fn encodings_are_taken_by_name_in_the_order_of_the_list_and_no_more_than_wanted() {
    let offer = Offer::parse_published(CHROMIUM_WHIP).unwrap();
    for (most, names) in [(3, "high;half;low"), (2, "high;half"), (1, "high"), (0, "high"), (9, "high;half;low")] {
        let (text, agreement) = answer_publisher(&offer, &wanted("VP8", &[]), most, &local()).unwrap();
        let (_, sections) = read(&text).unwrap();
        assert_eq!(sections[0].value("simulcast"), Some(format!("recv {names}").as_str()));
        let rids: Vec<String> = names.split(';').map(|name| format!("{name} recv")).collect();
        assert_eq!(sections[0].values("rid"), rids);
        assert_eq!(agreement.rids.join(";"), names);
    }
    let (text, agreement) = agree_to_publish(OBS_SIMULCAST, &h264());
    assert_eq!(agreement.rids, ["0", "1", "2"], "four are offered");
    assert!(text.contains("a=simulcast:recv 0;1;2\r\n"));
}

#[test]
fn what_is_no_list_of_encodings_means_one_without_name() {
    let changes = [
        ("a=simulcast:send high;half;low\n", ""),
        ("a=simulcast:send high;half;low\n", "a=simulcast:recv high;half;low\n"),
        ("a=simulcast:send high;half;low\n", "a=simulcast:send\n"),
        ("a=simulcast:send high;half;low\n", "a=simulcast:send one;two\n"),
        (RID_URI, "urn:other"),
    ];
    for (from, to) in changes {
        assert!(CHROMIUM_WHIP.contains(from), "{from}");
        let (text, agreement) = agree_to_publish(&CHROMIUM_WHIP.replace(from, to), &wanted("VP8", &[]));
        assert_eq!((agreement.rids.len(), agreement.layers()), (0, 1), "{to:?}");
        assert!(!text.contains("a=rid:") && !text.contains("a=simulcast:"), "{to:?}");
    }
}

#[test]
fn lists_with_alternatives_pauses_repetitions_and_nonsense_are_read_as_far_as_they_go() {
    for (list, names) in [
        ("send high,low;~half", "high;half"),
        ("recv x send high;low", "high;low"),
        ("send low;low;high", "low;high"),
        ("send ;;high;-;\u{e4};aaaaaaaaaaaaaaaaa", "high"),
    ] {
        let text = CHROMIUM_WHIP.replace("a=simulcast:send high;half;low", &format!("a=simulcast:{list}"));
        assert_eq!(agree_to_publish(&text, &wanted("VP8", &[])).1.rids.join(";"), names, "{list}");
    }
}

#[test]
fn feedback_and_extensions_are_agreed_to_as_far_as_they_were_offered() {
    let (text, _) = agree_to_publish(CHROMIUM_WHIP, &wanted("VP8", &[]));
    let (_, sections) = read(&text).unwrap();
    let mut feedback = sections[0].values("rtcp-fb");
    feedback.sort_unstable();
    assert_eq!(feedback, ["96 ccm fir", "96 nack", "96 nack pli", "96 transport-cc"]);
    let maps = [(9, MID_URI), (10, RID_URI), (11, REPAIRED_RID_URI), (4, TRANSPORT_CC_URI)];
    assert_eq!(sections[0].values("extmap"), maps.map(|(id, uri)| format!("{id} {uri}")));
    assert!(sections[1].values("extmap").is_empty());
    let deaf = CHROMIUM_WHIP.replace(" nack\n", " other\n").replace("transport-cc\n", "other\n");
    let (text, agreement) = agree_to_publish(&deaf, &wanted("VP8", &[]));
    assert!(!agreement.repeats && agreement.transport_cc.is_none());
    assert!(!text.contains(TRANSPORT_CC_URI));
}

#[test]
fn sound_that_is_not_sent_or_not_opus_is_rejected_and_the_picture_is_not() {
    for (from, to) in
        [("opus/48000/2", "speex/16000"), ("a=sendonly\na=ssrc:2418236001", "a=recvonly\na=ssrc:2418236001")]
    {
        assert!(OBS_WHIP.contains(from));
        let (text, agreement) = agree_to_publish(&OBS_WHIP.replace(from, to), &h264());
        let (session, sections) = read(&text).unwrap();
        assert_eq!((sections[0].port, sections[1].port, agreement.audio_payload), (0, 9, None));
        assert!(session.contains(&("group".to_owned(), "BUNDLE 1".to_owned())));
    }
}

#[test]
fn viewers_and_other_codecs_and_profiles_are_refused_by_name() {
    for (client, text) in VIEWERS {
        let refused = Offer::parse_published(&crlf(text)).unwrap_err().to_string();
        assert!(refused.starts_with("the video section must send: a=sendonly or a=sendrecv"), "{client}: {refused}");
    }
    for (client, text) in PUBLISHERS {
        let refused = Offer::parse(&crlf(text)).unwrap_err().to_string();
        assert_eq!(refused, "the video section must receive: a=recvonly or a=sendrecv", "{client}");
    }
    let no_video = CHROMIUM.replace("m=video", "m=picture");
    let cases = [
        (FFMPEG_WHIP, "VP8", &[][..], "the offer has no payload type for VP8, which the stream has"),
        (OBS_WHIP, "H264", &["6400"], "the offer has no payload type for H264 [\"6400\"], which the stream has"),
        (CHROMIUM_WHIP, "VP9", &[], "pictures in VP9 are not taken; known are H264, VP8, AV1"),
        (no_video.as_str(), "VP8", &[], "the offer has no video section to publish"),
    ];
    for (text, encoding, profiles, why) in cases {
        assert_eq!(refusal(text, encoding, profiles).unwrap_err().to_string(), why);
    }
}
