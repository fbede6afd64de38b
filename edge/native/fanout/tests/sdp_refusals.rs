//! Bad offers are refused with a reason, none makes the edge keep much, and no text at all panics.

#[path = "support/sdp_answers.rs"]
mod sdp_answers;

use farstage_fanout::sdp::{MAX_LAYERS, MAX_SECTIONS, Offer, answer, answer_publisher};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use sdp_answers::{CHROMIUM, MAX_BODY_BYTES, PUBLISHERS, VIEWERS, check_answer, crlf, h264, local, wanted};

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

const CLIENTS: usize = VIEWERS.len() + PUBLISHERS.len();

fn offer_of(client: usize) -> &'static str {
    VIEWERS.iter().chain(&PUBLISHERS).nth(client).expect("a client").1
}

/// The offer of a client with some lines lost, moved, repeated, cut or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_u8..7, ".{0,40}");
    (0..CLIENTS, prop::collection::vec(change, 1..6)).prop_map(|(client, changes)| {
        let mut lines: Vec<String> = offer_of(client).lines().map(str::to_owned).collect();
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
    let (watched, published) = (Offer::parse(text), Offer::parse_published(text));
    for wanted in [h264(), wanted("VP8", &[]), wanted("AV1", &[])] {
        let watching = watched.iter().filter_map(|offer| Some((offer, answer(offer, &wanted, &local()).ok()?.0)));
        let publishing = published.iter().filter_map(|offer| {
            let (text, agreement) = answer_publisher(offer, &wanted, MAX_LAYERS, &local()).ok()?;
            assert!(agreement.layers() <= MAX_LAYERS);
            Some((offer, text))
        });
        for (offer, answer) in watching.chain(publishing) {
            let checked = check_answer(offer, &answer);
            prop_assert!(checked.is_ok(), "{:?}\n{}", checked, answer);
        }
    }
    Ok(watched.is_ok() || published.is_ok())
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
    fn an_offer_cut_anywhere_is_refused_or_answered(client in 0..CLIENTS, at in any::<prop::sample::Index>()) {
        let text = crlf(offer_of(client));
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
