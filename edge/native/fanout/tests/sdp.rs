//! Offers of real clients are answered as these clients expect; bad ones are refused with a reason; none panics.

use std::collections::HashSet;

use farstage_fanout::sdp::{
    self, Agreement, CAPTURE_TIME_URI, Direction, Kind, Local, MAX_SECTIONS, Offer, PLAYOUT_DELAY_URI, SEND_TIME_URI,
    Setup, Ssrcs, TRANSPORT_CC_URI, Wanted, answer,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

const CHROMIUM: &str = include_str!("offers/chromium-156.sdp");
const FIREFOX: &str = include_str!("offers/firefox-140.sdp");
const SAFARI: &str = include_str!("offers/safari-18.sdp");
const AIORTC: &str = include_str!("offers/aiortc-1.16.sdp");
const GSTREAMER: &str = include_str!("offers/gstreamer-1.24.sdp");
const LIBDATACHANNEL: &str = include_str!("offers/libdatachannel-0.22.sdp");
const FFMPEG_WHIP: &str = include_str!("offers/ffmpeg-8-whip.sdp");
const VIEWERS: [(&str, &str); 6] = [
    ("Chromium", CHROMIUM),
    ("Firefox", FIREFOX),
    ("Safari", SAFARI),
    ("aiortc", AIORTC),
    ("GStreamer", GSTREAMER),
    ("libdatachannel", LIBDATACHANNEL),
];
/// The most that `edge/whep.py` reads of a request.
const MAX_BODY_BYTES: usize = 64 * 1024;

fn crlf(text: &str) -> String {
    text.replace('\n', "\r\n")
}

fn local() -> Local {
    Local {
        ufrag: "edgeUfrg".to_owned(),
        password: "PassWordOfTheEdge/0123+x".to_owned(),
        fingerprint: [0xAB; 32],
        udp: vec!["198.51.100.1:3478".parse().unwrap(), "[2001:db8::1]:3478".parse().unwrap()],
        tcp: vec!["198.51.100.1:3478".parse().unwrap()],
        ssrcs: Ssrcs { video: 101, rtx: 102, audio: 103 },
    }
}

fn wanted(encoding: &str, profiles: &[&str]) -> Wanted {
    Wanted { encoding: encoding.to_owned(), profiles: profiles.iter().map(|profile| (*profile).to_owned()).collect() }
}

/// Any H.264 that a browser decodes, the simplest first.
fn h264() -> Wanted {
    wanted("H264", &["42e0", "4200", "4d00", "6400"])
}

fn agree(offer: &str, wanted: &Wanted) -> (String, Agreement) {
    answer(&Offer::parse(&crlf(offer)).expect("a good offer"), wanted, &local()).expect("an answer")
}

/// A section of an answer, as strict a reader finds it.
#[derive(Debug, Default)]
struct Section {
    media: String,
    port: u16,
    formats: Vec<String>,
    attributes: Attributes,
}

impl Section {
    fn value(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn values(&self, name: &str) -> Vec<&str> {
        self.attributes.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect()
    }
}

type Attributes = Vec<(String, String)>;

/// Reads SDP by the letter (RFC 8866, section 9): the order of lines, their ends, and what may stand in them.
fn read(text: &str) -> Result<(Attributes, Vec<Section>), String> {
    let body = text.strip_suffix("\r\n").ok_or("the last line has no end")?;
    let (mut session, mut sections) = (Vec::new(), Vec::<Section>::new());
    for (at, line) in body.split("\r\n").enumerate() {
        let (kind, value) = line.split_once('=').ok_or(format!("{line:?} has no type"))?;
        if value.chars().any(|c| matches!(c, '\0' | '\r' | '\n')) {
            return Err(format!("{line:?} has characters that end lines"));
        }
        let expected = ["v", "o", "s", "t"].get(at);
        if expected.is_some_and(|expected| kind != *expected) {
            return Err(format!("{line:?} in the place of {expected:?}"));
        }
        let attribute = value.split_once(':').unwrap_or((value, ""));
        let attribute = (attribute.0.to_owned(), attribute.1.to_owned());
        match (kind, sections.last_mut()) {
            ("m", _) => {
                let mut words = value.split(' ');
                let media = words.next().unwrap_or_default().to_owned();
                let port = words.next().and_then(|port| port.parse().ok()).ok_or(format!("{line:?} has no port"))?;
                let protocol = words.next().ok_or(format!("{line:?} has no protocol"))?;
                let formats: Vec<String> = words.map(str::to_owned).collect();
                if media.is_empty() || protocol.is_empty() || formats.is_empty() || formats.contains(&String::new()) {
                    return Err(format!("{line:?} is not whole"));
                }
                sections.push(Section { media, port, formats, attributes: Vec::new() });
            }
            ("a", Some(section)) => section.attributes.push(attribute),
            ("a", None) => session.push(attribute),
            ("c", Some(_)) | ("v" | "o" | "s" | "t", None) => {}
            _ => return Err(format!("{line:?} is out of place")),
        }
    }
    Ok((session, sections))
}

/// What must hold of each answer, whatever was offered.
fn check_answer(offer: &Offer, text: &str) -> Result<(), String> {
    let (session, sections) = read(text)?;
    if sections.len() != offer.sections.len() {
        return Err(format!("{} sections for {}", sections.len(), offer.sections.len()));
    }
    let bundle = session.iter().find(|(name, _)| name == "group").map(|(_, value)| value.as_str()).unwrap_or_default();
    let bundle: Vec<&str> = bundle.split(' ').skip(1).collect();
    for (section, offered) in sections.iter().zip(&offer.sections) {
        let mid = section.value("mid").unwrap_or_default();
        if mid != offered.mid {
            return Err(format!("section {mid:?} in the place of {:?}", offered.mid));
        }
        if (section.port != 0) != bundle.contains(&mid) {
            return Err(format!("section {mid:?} is bundled and rejected, or neither"));
        }
        if section.port != 0 {
            check_section(section, offered)?;
        }
    }
    Ok(())
}

fn check_section(section: &Section, offered: &sdp::Section) -> Result<(), String> {
    let needed = ["ice-ufrag", "ice-pwd", "fingerprint", "setup", "candidate"];
    if let Some(missing) = needed.iter().find(|name| section.value(name).is_none()) {
        return Err(format!("section {:?} has no {missing}", offered.mid));
    }
    if offered.kind == Kind::Data {
        return Ok(());
    }
    let known = |number: &str| offered.payloads.iter().any(|payload| payload.number.to_string() == number);
    let maps: HashSet<&str> = section.values("rtpmap").iter().filter_map(|map| map.split(' ').next()).collect();
    let formats: HashSet<&str> = section.formats.iter().map(String::as_str).collect();
    if maps != formats || !formats.iter().all(|number| known(number)) {
        return Err(format!("payload types {formats:?} with maps {maps:?}"));
    }
    let extensions = section.values("extmap");
    let same = |map: &&str| {
        let (id, uri) = map.split_once(' ').unwrap_or_default();
        offered.extensions.iter().any(|(own, name)| own.to_string() == id && name == uri)
    };
    if !extensions.iter().all(same) {
        return Err(format!("extensions {extensions:?} that were not offered"));
    }
    Ok(())
}

// --- what real clients offer ---

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

// --- refusals ---

#[test]
fn each_refusal_says_what_is_missing_or_wrong() {
    let unusable = "the offer lacks a DTLS fingerprint or ICE credentials";
    let credentials = "ICE credentials must be 4 to 256 characters of A-Z a-z 0-9 + / (RFC 8839, section 5.4)";
    let bundled = "the offer must bundle all its media sections, each with a mid (a=group:BUNDLE, a=mid)";
    let digest = "the SHA-256 fingerprint is not 32 hexadecimal bytes separated by colons";
    let long = "x".repeat(300);
    let long_pwd = format!("a=ice-pwd:{long}");
    let long_mid = format!("a=mid:{}", "m".repeat(33));
    let media = "a media line must have a kind, a port, a protocol and formats (RFC 8866, section 5.14)";
    let cases: [(&str, &str, &str); 29] = [
        ("v=0\n", "v=1\n", "the body is not an SDP offer: it does not begin with v=0"),
        ("v=0\n", "{\"sdp\": \"v=0\n", "the body is not an SDP offer: it does not begin with v=0"),
        ("m=video", "m=picture", "the offer has no video section to receive"),
        ("m=audio 9 ", "m=audio  9 ", media),
        ("m=audio 9 ", "m=\u{e4}udio 9 ", media),
        ("UDP/DTLS/SCTP webrtc-datachannel", "UDP/DTLS/SCTP", media),
        ("a=recvonly\n", "a=sendonly\n", "the video section must receive: a=recvonly or a=sendrecv"),
        ("a=recvonly\n", "a=inactive\n", "the video section must receive: a=recvonly or a=sendrecv"),
        ("a=ice-ufrag", "a=x-ufrag", unusable),
        ("a=ice-pwd", "a=x-pwd", unusable),
        ("a=fingerprint", "a=x-fingerprint", unusable),
        ("sha-256", "sha-1", "the offer has no SHA-256 fingerprint; other hashes are not taken"),
        ("39:56:", "39:", digest),
        ("39:56:", "39:56:56:", digest),
        ("39:56:", "3956:", digest),
        ("39:56:", "39:5G:", digest),
        ("39:56:", "39:+5:", digest),
        ("39:56:", "39: 5:", digest),
        ("a=ice-ufrag:aD2T", "a=ice-ufrag:aD2", credentials),
        ("a=ice-ufrag:aD2T", "a=ice-ufrag:a:2T", credentials),
        ("a=ice-ufrag:aD2T", "a=ice-ufrag:", credentials),
        ("a=ice-pwd:jJo/9btVToVkp7lSCoMr+KDA", &long_pwd, credentials),
        ("a=setup:actpass", "a=setup:holdconn", "a=setup:holdconn is not for an offer; use actpass"),
        ("a=group:BUNDLE 0 1 2", "a=group:BUNDLE 0 1", bundled),
        ("a=group:BUNDLE 0 1 2", "a=group:LS 0 1 2", bundled),
        ("a=mid:1\n", "a=mid:0\n", bundled),
        ("a=mid:1\n", "", bundled),
        ("a=mid:1", &long_mid, "a mid must be 1 to 32 printable characters"),
        ("a=mid:1", "a=mid:\u{e9}", "a mid must be 1 to 32 printable characters"),
    ];
    for (from, to, why) in cases {
        assert!(CHROMIUM.contains(from), "{from}");
        let refused = Offer::parse(&CHROMIUM.replace(from, to));
        assert_eq!(refused.map_err(|error| error.to_string()), Err(why.to_owned()), "{from:?} as {to:?}");
    }
    assert!(Offer::parse("").is_err());
}

#[test]
fn two_different_certificates_are_refused() {
    let text = CHROMIUM.replacen("39:56:19", "39:56:20", 1);
    assert_eq!(Offer::parse(&text).unwrap_err().to_string(), "the offer names two different certificates");
}

#[test]
fn characters_that_would_end_a_line_of_the_answer_are_refused() {
    for forged in ["a=rtpmap:108 H264/90000\ra=ice-lite\n", "a=rtpmap:108 H264/90000\0\n"] {
        let text = CHROMIUM.replace("a=rtpmap:108 H264/90000\n", forged);
        let refused = Offer::parse(&text).unwrap_err();
        assert_eq!(refused.to_string(), "a line has a control character");
    }
}

#[test]
fn giant_offers_are_refused_at_their_limits() {
    let line = format!("{CHROMIUM}a={}\n", "x".repeat(10 << 20));
    let refused = Offer::parse(&line).unwrap_err();
    assert_eq!(refused.to_string(), format!("a line has {} bytes; the limit is 4096", (10 << 20) + 2));
    let sections = format!("{CHROMIUM}{}", "m=audio 9 UDP/TLS/RTP/SAVPF 0\na=mid:x\n".repeat(100_000));
    let refused = Offer::parse(&sections).unwrap_err();
    assert_eq!(refused.to_string(), format!("the offer has more media sections than the limit of {MAX_SECTIONS}"));
}

#[test]
fn an_offer_makes_the_edge_keep_little_more_than_it_has() {
    let payloads: Vec<String> = (0..128).map(|number| number.to_string()).collect();
    let video = format!("m=video 9 UDP/TLS/RTP/SAVPF {}\na=mid:0\na=recvonly\n", payloads.join(" "));
    let head = format!(
        "v=0\na=ice-ufrag:aD2T\na=ice-pwd:jJo/9btVToVkp7lSCoMr+KDA\na=fingerprint:sha-256 {}\n{video}",
        vec!["AB"; 32].join(":")
    );
    let long = "x".repeat(4_000);
    let floods = [
        ("feedback for all", format!("a=rtcp-fb:* {long}\n")),
        ("known feedback for all", "a=rtcp-fb:* nack pli\n".to_owned()),
        ("extensions", format!("a=extmap:3 {long}\n")),
        ("formats", format!("a=fmtp:96 {long}\n")),
        ("encodings", format!("a=rtpmap:96 {long}\n")),
        ("unknown attributes", format!("a={long}\n")),
    ];
    for (case, line) in floods {
        let text = format!("{head}{}", line.repeat((MAX_BODY_BYTES - head.len()) / line.len()));
        let offer = Offer::parse(&text).unwrap_or_else(|error| panic!("{case}: {error}"));
        // What it keeps is about what it prints.
        let kept = format!("{offer:?}").len();
        assert!(kept < 4 * MAX_BODY_BYTES, "{case}: {kept} bytes of {}", text.len());
    }
}

// --- anything at all ---

/// The offer of a client with some lines lost, moved, repeated, cut or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_u8..7, ".{0,40}");
    (0..VIEWERS.len(), prop::collection::vec(change, 1..6)).prop_map(|(client, changes)| {
        let mut lines: Vec<String> = VIEWERS[client].1.lines().map(str::to_owned).collect();
        for (at, to, kind, text) in changes {
            let (at, to) = (at.index(lines.len()), to.index(lines.len()));
            match kind {
                0 if lines.len() > 1 => drop(lines.remove(at)),
                1 => lines.swap(at, to),
                2 => lines.insert(to, lines[at].clone()),
                3 => {
                    let cut = lines[at].char_indices().nth(to % 20).map_or(lines[at].len(), |(cut, _)| cut);
                    lines[at].truncate(cut);
                }
                4 => lines[at].push_str(&text),
                5 => lines.insert(at, format!("a={text}")),
                _ => {
                    let split = lines[at].find([':', ' ', '=']).map_or(0, |split| split + 1);
                    lines[at].replace_range(split.., &text);
                }
            }
        }
        lines.join("\r\n") + "\r\n"
    })
}

fn check_any(text: &str) -> Result<bool, TestCaseError> {
    let Ok(offer) = Offer::parse(text) else { return Ok(false) };
    for wanted in [h264(), wanted("VP8", &[]), wanted("AV1", &[])] {
        if let Ok((answer, _)) = answer(&offer, &wanted, &local()) {
            let checked = check_answer(&offer, &answer);
            prop_assert!(checked.is_ok(), "{:?}\n{}", checked, answer);
        }
    }
    Ok(true)
}

proptest! {
    #[test]
    fn any_text_is_taken_without_panic(text in "(v=0)?(\r?\n[a-z]=.{0,60}){0,30}") {
        check_any(&text)?;
    }

    #[test]
    fn changed_offers_are_refused_or_answered_section_by_section(text in mutated()) {
        check_any(&text)?;
    }

    #[test]
    fn an_offer_cut_anywhere_is_refused_or_answered(client in 0..VIEWERS.len(), at in any::<prop::sample::Index>()) {
        let text = crlf(VIEWERS[client].1);
        check_any(&text[..at.index(text.len())])?;
    }
}

#[test]
fn changes_do_not_make_every_offer_unusable() {
    // So that the properties above say something about answers too.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let accepted = (0..200)
        .filter(|_| {
            let tree = mutated().new_tree(&mut runner).unwrap();
            check_any(&tree.current()).unwrap()
        })
        .count();
    assert!(accepted > 40, "{accepted} of 200 are accepted");
}
