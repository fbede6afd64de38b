//! Offers of real clients, and a strict reader of the answers to them.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::HashSet;

use farstage_fanout::sdp::{
    self, Agreement, Kind, Local, Offer, PublishAgreement, Ssrcs, Wanted, answer, answer_publisher,
};

pub const CHROMIUM: &str = include_str!("../offers/chromium-156.sdp");
pub const FIREFOX: &str = include_str!("../offers/firefox-140.sdp");
pub const SAFARI: &str = include_str!("../offers/safari-18.sdp");
pub const AIORTC: &str = include_str!("../offers/aiortc-1.16.sdp");
pub const GSTREAMER: &str = include_str!("../offers/gstreamer-1.24.sdp");
pub const LIBDATACHANNEL: &str = include_str!("../offers/libdatachannel-0.22.sdp");
pub const FFMPEG_WHIP: &str = include_str!("../offers/ffmpeg-8-whip.sdp");
pub const VIEWERS: [(&str, &str); 6] = [
    ("Chromium", CHROMIUM),
    ("Firefox", FIREFOX),
    ("Safari", SAFARI),
    ("aiortc", AIORTC),
    ("GStreamer", GSTREAMER),
    ("libdatachannel", LIBDATACHANNEL),
];
pub const CHROMIUM_WHIP: &str = include_str!("../offers/chromium-156-whip.sdp");
pub const AIORTC_WHIP: &str = include_str!("../offers/aiortc-1.16-whip.sdp");
pub const GSTREAMER_WHIP: &str = include_str!("../offers/gstreamer-1.24-whip.sdp");
pub const OBS_WHIP: &str = include_str!("../offers/obs-31-whip.sdp");
pub const OBS_SIMULCAST: &str = include_str!("../offers/obs-32-simulcast.sdp");
pub const PUBLISHERS: [(&str, &str); 6] = [
    ("Chromium", CHROMIUM_WHIP),
    ("aiortc", AIORTC_WHIP),
    ("GStreamer", GSTREAMER_WHIP),
    ("OBS", OBS_WHIP),
    ("OBS with simulcast", OBS_SIMULCAST),
    ("FFmpeg", FFMPEG_WHIP),
];
/// The most that `edge/whep.py` reads of a request.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

pub fn crlf(text: &str) -> String {
    text.replace('\n', "\r\n")
}

pub fn local() -> Local {
    Local {
        ufrag: "edgeUfrg".to_owned(),
        password: "PassWordOfTheEdge/0123+x".to_owned(),
        fingerprint: [0xAB; 32],
        udp: vec!["198.51.100.1:3478".parse().unwrap(), "[2001:db8::1]:3478".parse().unwrap()],
        tcp: vec!["198.51.100.1:3478".parse().unwrap()],
        ssrcs: Ssrcs { video: 101, rtx: 102, audio: 103 },
    }
}

pub fn wanted(encoding: &str, profiles: &[&str]) -> Wanted {
    Wanted { encoding: encoding.to_owned(), profiles: profiles.iter().map(|profile| (*profile).to_owned()).collect() }
}

/// Any H.264 that a browser decodes, the simplest first.
pub fn h264() -> Wanted {
    wanted("H264", &["42e0", "4200", "4d00", "6400"])
}

pub fn agree(offer: &str, wanted: &Wanted) -> (String, Agreement) {
    answer(&Offer::parse(&crlf(offer)).expect("a good offer"), wanted, &local()).expect("an answer")
}

pub fn agree_to_publish(offer: &str, wanted: &Wanted) -> (String, PublishAgreement) {
    let offer = Offer::parse_published(&crlf(offer)).expect("a good offer");
    answer_publisher(&offer, wanted, sdp::MAX_LAYERS, &local()).expect("an answer")
}

/// A section of an answer, as strict a reader finds it.
#[derive(Debug, Default)]
pub struct Section {
    pub media: String,
    pub port: u16,
    pub formats: Vec<String>,
    pub attributes: Attributes,
}

impl Section {
    pub fn value(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub fn values(&self, name: &str) -> Vec<&str> {
        self.attributes.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect()
    }
}

pub type Attributes = Vec<(String, String)>;

/// Reads SDP by the letter (RFC 8866, section 9): the order of lines, their ends, and what may stand in them.
pub fn read(text: &str) -> Result<(Attributes, Vec<Section>), String> {
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
pub fn check_answer(offer: &Offer, text: &str) -> Result<(), String> {
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
