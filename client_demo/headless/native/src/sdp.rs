//! The offer of a viewer and the answer of a server (RFC 8829, RFC 8839, WHEP).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::random;

const MAX_ANSWER: usize = 256 * 1024;
const MAX_CANDIDATES: usize = 64;

/// The identifier the offer gives transport-wide sequence numbers.
pub const TRANSPORT_CC_ID: u8 = 1;
/// The identifier the offer gives abs-capture-time.
pub const CAPTURE_TIME_ID: u8 = 2;
const EXTENSIONS: [(u8, &str); 4] = [
    (TRANSPORT_CC_ID, "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"),
    (CAPTURE_TIME_ID, "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"),
    (3, "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"),
    (4, "urn:ietf:params:rtp-hdrext:sdes:mid"),
];

/// What a payload type of our offer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// H.264 video (RFC 6184).
    H264,
    /// VP8 video (RFC 7741).
    Vp8,
    /// Repeats of lost video packets (RFC 4588).
    Rtx,
    /// Opus audio (RFC 7587).
    Opus,
}

/// One video payload type of the offer; `number + 1` carries its repeats.
struct VideoFormat {
    number: u8,
    payload: Payload,
    encoding: &'static str,
    parameters: &'static str,
}

const H264_BASELINE: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
const H264_MAIN: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f";
const VIDEO: [VideoFormat; 3] = [
    VideoFormat { number: 102, payload: Payload::H264, encoding: "H264/90000", parameters: H264_BASELINE },
    VideoFormat { number: 104, payload: Payload::H264, encoding: "H264/90000", parameters: H264_MAIN },
    VideoFormat { number: 96, payload: Payload::Vp8, encoding: "VP8/90000", parameters: "" },
];
const OPUS: u8 = 111;

/// What a payload type means in every offer of ours; `None` for one we do not offer.
pub fn payload(number: u8) -> Option<Payload> {
    if number == OPUS {
        return Some(Payload::Opus);
    }
    VIDEO.iter().find_map(|format| match number {
        own if own == format.number => Some(format.payload),
        repeats if repeats == format.number + 1 => Some(Payload::Rtx),
        _ => None,
    })
}

/// The codecs that are offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codecs {
    /// H.264 (both profiles), then VP8.
    #[default]
    All,
    /// H.264 alone.
    H264,
    /// VP8 alone.
    Vp8,
}

impl Codecs {
    fn offers(self, payload: Payload) -> bool {
        match self {
            Self::All => true,
            Self::H264 => payload == Payload::H264,
            Self::Vp8 => payload == Payload::Vp8,
        }
    }
}

/// Our half of ICE's short-term credentials.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `a=ice-ufrag`
    pub fragment: String,
    /// `a=ice-pwd`
    pub password: String,
}

impl Credentials {
    /// Fresh ones.
    pub fn new() -> Self {
        Self { fragment: random::ice_text(8), password: random::ice_text(24) }
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self::new()
    }
}

/// What an offer says besides its codecs.
pub struct Offer<'a> {
    /// ICE credentials.
    pub credentials: &'a Credentials,
    /// SHA-256 of our certificate.
    pub fingerprint: [u8; 32],
    /// Where we receive: our only candidate.
    pub host: SocketAddr,
    /// Whether the candidate is an active TCP one.
    pub tcp: bool,
    /// Video codecs.
    pub codecs: Codecs,
    /// Whether to ask for sound too.
    pub audio: bool,
}

impl Offer<'_> {
    /// The offer as SDP.
    pub fn to_sdp(&self) -> String {
        let session = u64::from_be_bytes(random::octets()) >> 2;
        let bundle = if self.audio { "0 1" } else { "0" };
        let mut sdp = format!(
            "v=0\r\no=- {session} 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {bundle}\r\n\
             a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n"
        );
        self.write_video(&mut sdp);
        if self.audio {
            self.write_audio(&mut sdp);
        }
        sdp
    }

    fn write_video(&self, sdp: &mut String) {
        let offered = || VIDEO.iter().filter(|format| self.codecs.offers(format.payload));
        let numbers: Vec<String> =
            offered().flat_map(|format| [format.number.to_string(), (format.number + 1).to_string()]).collect();
        add(sdp, format_args!("m=video 9 UDP/TLS/RTP/SAVPF {}", numbers.join(" ")));
        self.write_transport(sdp, "0");
        for format in offered() {
            let number = format.number;
            add(sdp, format_args!("a=rtpmap:{number} {}", format.encoding));
            for feedback in ["transport-cc", "ccm fir", "nack", "nack pli"] {
                add(sdp, format_args!("a=rtcp-fb:{number} {feedback}"));
            }
            if !format.parameters.is_empty() {
                add(sdp, format_args!("a=fmtp:{number} {}", format.parameters));
            }
            add(sdp, format_args!("a=rtpmap:{} rtx/90000", number + 1));
            add(sdp, format_args!("a=fmtp:{} apt={number}", number + 1));
        }
    }

    fn write_audio(&self, sdp: &mut String) {
        add(sdp, format_args!("m=audio 9 UDP/TLS/RTP/SAVPF {OPUS}"));
        self.write_transport(sdp, "1");
        add(sdp, format_args!("a=rtpmap:{OPUS} opus/48000/2"));
        add(sdp, format_args!("a=rtcp-fb:{OPUS} transport-cc"));
        add(sdp, format_args!("a=fmtp:{OPUS} minptime=10;useinbandfec=1"));
    }

    fn write_transport(&self, sdp: &mut String, mid: &str) {
        let digits: Vec<String> = self.fingerprint.iter().map(|octet| format!("{octet:02X}")).collect();
        add(sdp, format_args!("c=IN IP4 0.0.0.0"));
        add(sdp, format_args!("a=rtcp:9 IN IP4 0.0.0.0"));
        add(sdp, format_args!("a=ice-ufrag:{}", self.credentials.fragment));
        add(sdp, format_args!("a=ice-pwd:{}", self.credentials.password));
        add(sdp, format_args!("a=fingerprint:sha-256 {}", digits.join(":")));
        add(sdp, format_args!("a=setup:actpass"));
        add(sdp, format_args!("a=mid:{mid}"));
        for (id, uri) in EXTENSIONS {
            add(sdp, format_args!("a=extmap:{id} {uri}"));
        }
        add(sdp, format_args!("a=recvonly"));
        add(sdp, format_args!("a=rtcp-mux"));
        add(sdp, format_args!("a=rtcp-rsize"));
        let (ip, port) = (self.host.ip(), self.host.port());
        if self.tcp {
            add(sdp, format_args!("a=candidate:1 1 tcp 1518280447 {ip} 9 typ host tcptype active"));
        } else {
            add(sdp, format_args!("a=candidate:1 1 udp 2130706431 {ip} {port} typ host"));
        }
        add(sdp, format_args!("a=end-of-candidates"));
    }
}

fn add(sdp: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = sdp.write_fmt(line);
    sdp.push_str("\r\n");
}

/// Who sends the ClientHello, as the answer decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// The server waits: we are the DTLS client.
    Passive,
    /// The server begins.
    Active,
}

/// What an answer tells us to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The server's ICE fragment.
    pub fragment: String,
    /// The server's ICE password.
    pub password: String,
    /// SHA-256 of the server's certificate.
    pub fingerprint: [u8; 32],
    /// DTLS roles.
    pub setup: Setup,
    /// UDP candidates, in the order of the answer.
    pub udp: Vec<SocketAddr>,
    /// Passive TCP candidates.
    pub tcp: Vec<SocketAddr>,
    /// Payload types of the accepted video section.
    pub video: Vec<u8>,
}

/// Why an answer cannot be used; names what is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerError(pub &'static str);

impl std::fmt::Display for AnswerError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "the answer {}", self.0)
    }
}

impl Answer {
    /// Reads an answer. ICE and DTLS attributes count from the session level or the first section that has them, as
    /// all sections share one transport.
    ///
    /// # Errors
    /// [`AnswerError`] if anything needed to connect is missing, or if the video was rejected.
    pub fn parse(sdp: &str) -> Result<Self, AnswerError> {
        if sdp.len() > MAX_ANSWER || !sdp.starts_with("v=0") {
            return Err(AnswerError("is not SDP (no v=0 at its start, or too long)"));
        }
        let value = |name: &str| sdp.lines().find_map(|line| line.trim_end().strip_prefix(name));
        let mut answer = Self {
            fragment: value("a=ice-ufrag:").ok_or(AnswerError("has no a=ice-ufrag"))?.to_owned(),
            password: value("a=ice-pwd:").ok_or(AnswerError("has no a=ice-pwd"))?.to_owned(),
            fingerprint: fingerprint(sdp).ok_or(AnswerError("has no usable a=fingerprint:sha-256"))?,
            setup: setup(value("a=setup:"))?,
            udp: Vec::new(),
            tcp: Vec::new(),
            video: video_payloads(sdp)?,
        };
        sdp.lines().filter_map(|line| line.trim_end().strip_prefix("a=candidate:")).for_each(|line| answer.take(line));
        if answer.udp.is_empty() && answer.tcp.is_empty() {
            return Err(AnswerError("has no candidate with an IP address"));
        }
        Ok(answer)
    }

    /// Takes a candidate (RFC 8839 section 5.1) of component 1; names, other transports and duplicates are left out.
    fn take(&mut self, line: &str) {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let &[_, "1", transport, _, ip, port, "typ", _, ..] = fields.as_slice() else {
            return;
        };
        let (Ok(ip), Ok(port)) = (ip.parse::<IpAddr>(), port.parse::<u16>()) else {
            return;
        };
        let passive = fields.windows(2).any(|pair| pair == ["tcptype", "passive"]);
        let list = match transport.to_ascii_lowercase().as_str() {
            "udp" => &mut self.udp,
            "tcp" if passive => &mut self.tcp,
            _ => return,
        };
        let address = SocketAddr::new(ip, port);
        if !ip.is_unspecified() && port != 0 && list.len() < MAX_CANDIDATES && !list.contains(&address) {
            list.push(address);
        }
    }
}

fn setup(value: Option<&str>) -> Result<Setup, AnswerError> {
    match value {
        Some("passive") => Ok(Setup::Passive),
        Some("active") => Ok(Setup::Active),
        _ => Err(AnswerError("has neither a=setup:passive nor a=setup:active")),
    }
}

fn fingerprint(sdp: &str) -> Option<[u8; 32]> {
    let hexadecimal = sdp.lines().find_map(|line| {
        let (algorithm, digits) = line.trim_end().strip_prefix("a=fingerprint:")?.split_once(' ')?;
        algorithm.eq_ignore_ascii_case("sha-256").then_some(digits)
    })?;
    let octets: Result<Vec<u8>, _> = hexadecimal.split(':').map(|pair| u8::from_str_radix(pair, 16)).collect();
    octets.ok()?.try_into().ok()
}

fn video_payloads(sdp: &str) -> Result<Vec<u8>, AnswerError> {
    let line = sdp.lines().find_map(|line| line.trim_end().strip_prefix("m=video "));
    let mut fields = line.ok_or(AnswerError("has no video section"))?.split_ascii_whitespace();
    if fields.next() == Some("0") {
        return Err(AnswerError("rejects the video section"));
    }
    let payloads: Vec<u8> = fields.skip(1).filter_map(|number| number.parse().ok()).collect();
    if payloads.iter().any(|number| matches!(payload(*number), Some(Payload::H264 | Payload::Vp8))) {
        Ok(payloads)
    } else {
        Err(AnswerError("accepts none of the offered video codecs"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(changes: &[(&str, &str)]) -> String {
        let digits = vec!["AB"; 32].join(":");
        let mut sdp = format!(
            "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 102 103\r\na=ice-ufrag:abcd\r\na=ice-pwd:secret\r\na=setup:passive\r\n\
             a=fingerprint:sha-256 {digits}\r\na=candidate:1 1 UDP 1 192.0.2.1 9000 typ host\r\n\
             a=candidate:1 2 UDP 1 192.0.2.1 9001 typ host\r\na=candidate:2 1 tcp 1 192.0.2.1 9 typ host tcptype passive\r\n\
             a=candidate:3 1 udp 1 box.local 9 typ host\r\n"
        );
        for (from, to) in changes {
            sdp = sdp.replace(from, to);
        }
        sdp
    }

    #[test]
    fn reads_what_to_connect_to() {
        let parsed = Answer::parse(&answer(&[])).unwrap();
        assert_eq!(parsed.udp, ["192.0.2.1:9000".parse().unwrap()]);
        assert_eq!(parsed.tcp, ["192.0.2.1:9".parse().unwrap()]);
        assert_eq!((parsed.fragment.as_str(), parsed.password.as_str()), ("abcd", "secret"));
        assert_eq!((parsed.fingerprint, parsed.setup), ([0xab; 32], Setup::Passive));
        assert_eq!(parsed.video, [102, 103]);
    }

    #[test]
    fn says_what_is_wrong() {
        for (from, to, why) in [
            ("v=0", "<html>", "is not SDP (no v=0 at its start, or too long)"),
            ("ice-ufrag", "x", "has no a=ice-ufrag"),
            ("ice-pwd", "x", "has no a=ice-pwd"),
            ("sha-256", "sha-1", "has no usable a=fingerprint:sha-256"),
            ("AB:AB", "AB", "has no usable a=fingerprint:sha-256"),
            ("passive\r\na=finger", "actpass\r\na=finger", "has neither a=setup:passive nor a=setup:active"),
            ("m=video 9", "m=video 0", "rejects the video section"),
            ("m=video", "m=audio", "has no video section"),
            ("102 103", "103", "accepts none of the offered video codecs"),
            ("192.0.2.1", "0.0.0.0", "has no candidate with an IP address"),
        ] {
            assert_eq!(Answer::parse(&answer(&[(from, to)])), Err(AnswerError(why)));
        }
    }

    #[test]
    fn the_offer_names_each_payload_it_reads() {
        let credentials = Credentials::new();
        let host = "192.0.2.7:5000".parse().unwrap();
        let offer = Offer {
            credentials: &credentials,
            fingerprint: [1; 32],
            host,
            tcp: false,
            codecs: Codecs::All,
            audio: true,
        };
        let sdp = offer.to_sdp();
        for number in [96, 97, 102, 103, 104, 105, 111] {
            assert!(payload(number).is_some() && sdp.contains(&format!("a=rtpmap:{number} ")));
        }
        assert_eq!(payload(98), None);
        assert!(sdp.contains("192.0.2.7 5000 typ host") && sdp.contains("a=group:BUNDLE 0 1\r\n"));
        assert!(!Offer { codecs: Codecs::Vp8, audio: false, ..offer }.to_sdp().contains("H264"));
    }

    proptest! {
        #[test]
        fn takes_any_text(text in ".{0,200}", at in 0usize..400) {
            let good = answer(&[]);
            let cut = good.char_indices().nth(at).map_or(good.len(), |(index, _)| index);
            let _ = Answer::parse(&format!("{}{text}", &good[..cut]));
        }
    }
}
