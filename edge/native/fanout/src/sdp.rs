//! SDP offers in, answers out: what WebRTC viewers send (RFC 8866, 8829) as far as a sending edge needs it.
//!
//! The parser takes what it knows and leaves the rest; everything it takes is bounded and checked. Sections must be
//! bundled on one transport (RFC 8843). The answer is that of an ICE-lite peer that waits for DTLS.

use std::fmt::Write as _;
use std::net::SocketAddr;

/// Media sections of one offer.
pub const MAX_SECTIONS: usize = 8;
/// Payload types read of one section.
const MAX_PAYLOADS: usize = 64;
const MAX_LINE_BYTES: usize = 4_096;
const MAX_MID_BYTES: usize = 32;
const MAX_CREDENTIAL_BYTES: usize = 256;

/// Header extensions the engine writes (RFC 8285).
pub const TRANSPORT_CC_URI: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// How long a receiver may hold pictures back.
pub const PLAYOUT_DELAY_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
/// When a picture was captured.
pub const CAPTURE_TIME_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";

/// Why an offer cannot be used; the text is for its author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdpError(pub String);

impl std::fmt::Display for SdpError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for SdpError {}

fn refuse<T>(why: impl Into<String>) -> Result<T, SdpError> {
    Err(SdpError(why.into()))
}

/// What a section carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `m=video`
    Video,
    /// `m=audio`
    Audio,
    /// `m=application` with SCTP over DTLS
    Data,
    /// Anything else; it is rejected in the answer.
    Other,
}

/// Which way media goes, as the section's author sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both ways; the default (RFC 8866, section 6.7).
    SendRecv,
    /// From the author.
    SendOnly,
    /// To the author.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Direction {
    fn parse(attribute: &str) -> Option<Self> {
        match attribute {
            "sendrecv" => Some(Self::SendRecv),
            "sendonly" => Some(Self::SendOnly),
            "recvonly" => Some(Self::RecvOnly),
            "inactive" => Some(Self::Inactive),
            _ => None,
        }
    }

    /// Whether its author sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether its author receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same, as the other side says it.
    pub fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            same => same,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// One payload type of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// RTP payload type.
    pub number: u8,
    /// Encoding name and clock rate as offered, such as `H264/90000`.
    pub encoding: String,
    /// The `fmtp` parameters as offered; empty without.
    pub format: String,
    /// The `rtcp-fb` lines as offered.
    pub feedback: Vec<String>,
}

impl Payload {
    fn is(&self, name: &str) -> bool {
        self.encoding.split('/').next().is_some_and(|own| own.eq_ignore_ascii_case(name))
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.format.split(';').find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Whether its author reports every packet's arrival.
    pub fn has_transport_cc(&self) -> bool {
        self.feedback.iter().any(|line| line == "transport-cc")
    }
}

/// One media section of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What it carries.
    pub kind: Kind,
    /// The media name, as offered.
    media: String,
    /// Transport protocol, as offered.
    protocol: String,
    formats: String,
    /// Its name within the bundle.
    pub mid: String,
    /// Which way.
    pub direction: Direction,
    /// Payload types in the author's order.
    pub payloads: Vec<Payload>,
    /// Header extensions: identifier and URI.
    pub extensions: Vec<(u8, String)>,
}

impl Section {
    /// The identifier of a header extension that was offered and fits the one-byte form.
    pub fn extension(&self, uri: &str) -> Option<u8> {
        self.extensions.iter().find(|(id, own)| own == uri && (1..=14).contains(id)).map(|(id, _)| *id)
    }

    fn rtx_for(&self, payload: u8) -> Option<u8> {
        let wanted = payload.to_string();
        let repeats = |p: &&Payload| p.is("rtx") && p.parameter("apt") == Some(wanted.as_str());
        self.payloads.iter().find(repeats).map(|p| p.number)
    }
}

/// Who starts the DTLS handshake (RFC 8842), as the offer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// The offerer can do either; the edge lets it start.
    ActPass,
    /// The offerer starts.
    Active,
    /// The offerer waits; the edge starts.
    Passive,
}

/// A checked offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// ICE user name fragment.
    pub ufrag: String,
    /// ICE password.
    pub password: String,
    /// SHA-256 of the offerer's certificate.
    pub fingerprint: [u8; 32],
    /// Who starts DTLS.
    pub setup: Setup,
    /// Sections in the offer's order.
    pub sections: Vec<Section>,
}

impl Offer {
    /// Read and check an offer. Errors say what is missing or wrong.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if !text.starts_with("v=0") {
            return refuse("the body is not an SDP offer: it does not begin with v=0");
        }
        let mut reader = Reader::default();
        for line in text.lines() {
            reader.take(line.trim_end())?;
        }
        reader.finish()
    }

    /// The first section of a kind.
    pub fn section(&self, kind: Kind) -> Option<&Section> {
        self.sections.iter().find(|section| section.kind == kind)
    }
}

#[derive(Default)]
struct Reader {
    sections: Vec<Section>,
    ufrag: Option<String>,
    password: Option<String>,
    fingerprint: Option<[u8; 32]>,
    other_hash: bool,
    setup: Option<Setup>,
    bundle: Option<Vec<String>>,
}

impl Reader {
    fn take(&mut self, line: &str) -> Result<(), SdpError> {
        if line.len() > MAX_LINE_BYTES {
            return refuse(format!("a line has {} bytes; the limit is {MAX_LINE_BYTES}", line.len()));
        }
        match line.get(..2) {
            Some("m=") => self.take_section(&line[2..]),
            Some("a=") => self.take_attribute(&line[2..]),
            _ => Ok(()),
        }
    }

    fn take_section(&mut self, media: &str) -> Result<(), SdpError> {
        if self.sections.len() == MAX_SECTIONS {
            return refuse(format!("the offer has more media sections than the limit of {MAX_SECTIONS}"));
        }
        let mut words = media.split(' ');
        let name = words.next().unwrap_or_default();
        let protocol = words.nth(1).unwrap_or_default();
        let formats: Vec<&str> = words.collect();
        let kind = match name {
            "video" => Kind::Video,
            "audio" => Kind::Audio,
            "application" if protocol.ends_with("DTLS/SCTP") => Kind::Data,
            _ => Kind::Other,
        };
        let numbers = formats.iter().filter_map(|format| format.parse().ok()).filter(|number: &u8| *number < 128);
        let blank = |number| Payload { number, encoding: String::new(), format: String::new(), feedback: Vec::new() };
        self.sections.push(Section {
            kind,
            media: name.to_owned(),
            protocol: protocol.to_owned(),
            formats: formats.join(" "),
            mid: String::new(),
            direction: Direction::SendRecv,
            payloads: numbers.take(MAX_PAYLOADS).map(blank).collect(),
            extensions: Vec::new(),
        });
        Ok(())
    }

    fn take_attribute(&mut self, attribute: &str) -> Result<(), SdpError> {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match name {
            "ice-ufrag" => keep_credential(&mut self.ufrag, value)?,
            "ice-pwd" => keep_credential(&mut self.password, value)?,
            "fingerprint" => self.take_fingerprint(value)?,
            "setup" => self.setup = self.setup.or(parse_setup(value)?),
            "group" => {
                if let Some(mids) = value.strip_prefix("BUNDLE ") {
                    self.bundle = Some(mids.split_whitespace().map(str::to_owned).collect());
                }
            }
            _ => {
                if let Some(section) = self.sections.last_mut() {
                    take_media_attribute(section, name, value)?;
                }
            }
        }
        Ok(())
    }

    fn take_fingerprint(&mut self, value: &str) -> Result<(), SdpError> {
        let (hash, digest) = value.trim().split_once(' ').unwrap_or((value, ""));
        if !hash.eq_ignore_ascii_case("sha-256") {
            self.other_hash = true;
            return Ok(());
        }
        let Some(bytes) = parse_digest(digest) else {
            return refuse("the SHA-256 fingerprint is not 32 hexadecimal bytes separated by colons");
        };
        if self.fingerprint.is_some_and(|known| known != bytes) {
            return refuse("the offer names two different certificates");
        }
        self.fingerprint = Some(bytes);
        Ok(())
    }

    fn finish(self) -> Result<Offer, SdpError> {
        let Some(video) = self.sections.iter().find(|section| section.kind == Kind::Video) else {
            return refuse("the offer has no video section to receive");
        };
        if !video.direction.receives() {
            return refuse("the video section must receive: a=recvonly or a=sendrecv");
        }
        check_bundle(&self.sections, self.bundle.as_deref())?;
        let (Some(ufrag), Some(password)) = (self.ufrag, self.password) else {
            return refuse("the offer lacks a DTLS fingerprint or ICE credentials");
        };
        let Some(fingerprint) = self.fingerprint else {
            return refuse(if self.other_hash {
                "the offer has no SHA-256 fingerprint; other hashes are not taken"
            } else {
                "the offer lacks a DTLS fingerprint or ICE credentials"
            });
        };
        Ok(Offer { ufrag, password, fingerprint, setup: self.setup.unwrap_or(Setup::ActPass), sections: self.sections })
    }
}

fn keep_credential(slot: &mut Option<String>, value: &str) -> Result<(), SdpError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+/=-_#".contains(c);
    if value.len() < 4 || value.len() > MAX_CREDENTIAL_BYTES || !value.chars().all(allowed) {
        return refuse("ICE credentials must be 4 to 256 characters of A-Z a-z 0-9 + / (RFC 8839, section 5.4)");
    }
    slot.get_or_insert_with(|| value.to_owned());
    Ok(())
}

fn parse_setup(value: &str) -> Result<Option<Setup>, SdpError> {
    match value.trim() {
        "actpass" => Ok(Some(Setup::ActPass)),
        "active" => Ok(Some(Setup::Active)),
        "passive" => Ok(Some(Setup::Passive)),
        other => refuse(format!("a=setup:{other} is not for an offer; use actpass")),
    }
}

fn parse_digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    let mut parts = text.trim().split(':');
    for byte in &mut digest {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(digest)
}

fn take_media_attribute(section: &mut Section, name: &str, value: &str) -> Result<(), SdpError> {
    if let Some(direction) = Direction::parse(name) {
        section.direction = direction;
        return Ok(());
    }
    match name {
        "mid" => {
            if value.is_empty() || value.len() > MAX_MID_BYTES || !value.chars().all(|c| c.is_ascii_graphic()) {
                return refuse(format!("a mid must be 1 to {MAX_MID_BYTES} printable characters"));
            }
            section.mid = value.to_owned();
        }
        "rtpmap" => with_payload(section, value, |payload, text| payload.encoding = text.to_owned()),
        "fmtp" => with_payload(section, value, |payload, text| payload.format = text.to_owned()),
        "rtcp-fb" => take_feedback(section, value),
        "extmap" => take_extension(section, value),
        _ => {}
    }
    Ok(())
}

fn with_payload(section: &mut Section, value: &str, set: impl FnOnce(&mut Payload, &str)) {
    let Some((number, text)) = value.split_once(' ') else { return };
    let Ok(number) = number.parse::<u8>() else { return };
    if let Some(payload) = section.payloads.iter_mut().find(|payload| payload.number == number) {
        set(payload, text.trim());
    }
}

fn take_feedback(section: &mut Section, value: &str) {
    const MOST_LINES: usize = 16;
    let Some((number, text)) = value.split_once(' ') else { return };
    let number = number.parse::<u8>().ok();
    for payload in &mut section.payloads {
        if number.is_none_or(|n| n == payload.number) && payload.feedback.len() < MOST_LINES {
            payload.feedback.push(text.trim().to_owned());
        }
    }
}

fn take_extension(section: &mut Section, value: &str) {
    const MOST_EXTENSIONS: usize = 32;
    let Some((id, uri)) = value.split_once(' ') else { return };
    let id = id.split('/').next().unwrap_or_default().parse::<u8>();
    if let Ok(id) = id
        && section.extensions.len() < MOST_EXTENSIONS
    {
        section.extensions.push((id, uri.split(' ').next().unwrap_or_default().to_owned()));
    }
}

fn check_bundle(sections: &[Section], bundle: Option<&[String]>) -> Result<(), SdpError> {
    let mut mids: Vec<&str> = sections.iter().map(|section| section.mid.as_str()).collect();
    mids.sort_unstable();
    let distinct = mids.windows(2).all(|pair| pair[0] != pair[1]) && mids.iter().all(|mid| !mid.is_empty());
    let bundled = match bundle {
        Some(named) => {
            let mut named: Vec<&str> = named.iter().map(String::as_str).collect();
            named.sort_unstable();
            named.dedup();
            named == mids
        }
        None => sections.len() == 1,
    };
    if distinct && bundled {
        return Ok(());
    }
    refuse("the offer must bundle all its media sections, each with a mid (a=group:BUNDLE, a=mid)")
}

/// What the viewer is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Encoding name: `H264`, `VP8` or `AV1`.
    pub encoding: String,
    /// For H.264: beginnings of the `profile-level-id`s that may be answered, best first.
    pub profiles: Vec<String>,
}

/// The edge's own side of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// ICE user name fragment.
    pub ufrag: String,
    /// ICE password.
    pub password: String,
    /// SHA-256 of the edge's certificate.
    pub fingerprint: [u8; 32],
    /// Where UDP is received.
    pub udp: Vec<SocketAddr>,
    /// Where connections are accepted (RFC 6544), the fallback.
    pub tcp: Vec<SocketAddr>,
    /// SSRCs of the video, its repeats and the sound.
    pub ssrcs: Ssrcs,
}

/// The SSRCs of what the edge sends one viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ssrcs {
    /// The pictures.
    pub video: u32,
    /// Pictures sent again (RFC 4588).
    pub rtx: u32,
    /// The sound.
    pub audio: u32,
}

/// What was agreed for the video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoAgreement {
    /// Payload type.
    pub payload: u8,
    /// Payload type of repeats; `None` sends the same packet again.
    pub rtx_payload: Option<u8>,
    /// Extension identifiers.
    pub transport_cc: Option<u8>,
    /// See [`PLAYOUT_DELAY_URI`].
    pub playout_delay: Option<u8>,
    /// See [`CAPTURE_TIME_URI`].
    pub capture_time: Option<u8>,
}

/// What was agreed for the sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioAgreement {
    /// Payload type of Opus.
    pub payload: u8,
    /// Whether the edge sends.
    pub sends: bool,
    /// Whether the edge receives.
    pub receives: bool,
}

/// What an answer settles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// The video; an offer without is refused.
    pub video: VideoAgreement,
    /// The sound, if any.
    pub audio: Option<AudioAgreement>,
    /// Whether there are data channels.
    pub data: bool,
    /// Whether the edge starts the DTLS handshake.
    pub starts_dtls: bool,
}

/// Answer an offer.
pub fn answer(offer: &Offer, wanted: &Wanted, local: &Local) -> Result<(String, Agreement), SdpError> {
    let video_at = offer.sections.iter().position(|section| section.kind == Kind::Video);
    let audio_at = offer.sections.iter().position(|section| section.kind == Kind::Audio);
    let data_at = offer.sections.iter().position(|section| section.kind == Kind::Data);
    let Some(video_section) = video_at.and_then(|at| offer.sections.get(at)) else {
        return refuse("the offer has no video section to receive");
    };
    let video = agree_video(video_section, wanted)?;
    let audio = audio_at.and_then(|at| agree_audio(&offer.sections[at]));
    let starts_dtls = offer.setup == Setup::Passive;
    let mut writer = AnswerWriter::begin(offer, local, starts_dtls, |at| {
        Some(at) == video_at || Some(at) == data_at || (Some(at) == audio_at && audio.is_some())
    });
    for (at, section) in offer.sections.iter().enumerate() {
        if Some(at) == video_at {
            writer.video(section, &video);
        } else if let (true, Some(audio)) = (Some(at) == audio_at, &audio) {
            writer.audio(section, audio);
        } else if Some(at) == data_at {
            writer.data(section);
        } else {
            writer.rejected(section);
        }
    }
    Ok((writer.text, Agreement { video, audio, data: data_at.is_some(), starts_dtls }))
}

fn agree_video(section: &Section, wanted: &Wanted) -> Result<VideoAgreement, SdpError> {
    let Some(payload) = choose(section, wanted) else {
        let profiles = if wanted.profiles.is_empty() { String::new() } else { format!(" {:?}", wanted.profiles) };
        return refuse(format!(
            "the offer has no payload type for {}{profiles}, which the stream has",
            wanted.encoding
        ));
    };
    Ok(VideoAgreement {
        payload: payload.number,
        rtx_payload: section.rtx_for(payload.number),
        transport_cc: section.extension(TRANSPORT_CC_URI).filter(|_| payload.has_transport_cc()),
        playout_delay: section.extension(PLAYOUT_DELAY_URI),
        capture_time: section.extension(CAPTURE_TIME_URI),
    })
}

fn choose<'a>(section: &'a Section, wanted: &Wanted) -> Option<&'a Payload> {
    let of_codec = || section.payloads.iter().filter(|payload| payload.is(&wanted.encoding));
    if wanted.profiles.is_empty() {
        return of_codec().next();
    }
    let fragments = |payload: &&Payload| payload.parameter("packetization-mode") == Some("1");
    let in_family = |payload: &&Payload, family: &str| {
        let profile = payload.parameter("profile-level-id").unwrap_or("42000a");
        profile.to_ascii_lowercase().starts_with(family)
    };
    let of_family = |family: &String| {
        let found = || of_codec().filter(|payload| in_family(payload, family));
        found().find(fragments).or_else(|| found().next())
    };
    wanted.profiles.iter().find_map(of_family)
}

fn agree_audio(section: &Section) -> Option<AudioAgreement> {
    let opus = section.payloads.iter().find(|payload| payload.is("opus"))?;
    let direction = section.direction;
    Some(AudioAgreement { payload: opus.number, sends: direction.receives(), receives: direction.sends() })
}

struct AnswerWriter<'a> {
    text: String,
    local: &'a Local,
    setup: &'static str,
}

impl<'a> AnswerWriter<'a> {
    fn begin(offer: &Offer, local: &'a Local, starts_dtls: bool, accepted: impl Fn(usize) -> bool) -> Self {
        let mids: Vec<&str> = offer
            .sections
            .iter()
            .enumerate()
            .filter(|(at, _)| accepted(*at))
            .map(|(_, section)| section.mid.as_str())
            .collect();
        let mut text = String::with_capacity(2_048);
        let _ = write!(text, "v=0\r\no=- {} 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", local.ssrcs.video);
        let _ = write!(text, "a=group:BUNDLE {}\r\na=ice-lite\r\na=msid-semantic: WMS farstage\r\n", mids.join(" "));
        Self { text, local, setup: if starts_dtls { "active" } else { "passive" } }
    }

    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push_str("\r\n");
    }

    fn transport(&mut self, section: &Section) {
        let local = self.local;
        self.line("c=IN IP4 0.0.0.0");
        self.line(format!("a=mid:{}", section.mid));
        self.line(format!("a=ice-ufrag:{}", local.ufrag));
        self.line(format!("a=ice-pwd:{}", local.password));
        let digest: Vec<String> = local.fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
        self.line(format!("a=fingerprint:sha-256 {}", digest.join(":")));
        self.line(format!("a=setup:{}", self.setup));
        self.candidates();
    }

    /// In each section: some clients read those of the last one alone, though all share a transport.
    fn candidates(&mut self) {
        let local = self.local;
        for (index, address) in local.udp.iter().enumerate() {
            let priority = candidate_priority(126, index);
            let (ip, port) = (address.ip(), address.port());
            self.line(format!("a=candidate:u{index} 1 udp {priority} {ip} {port} typ host"));
        }
        for (index, address) in local.tcp.iter().enumerate() {
            let priority = candidate_priority(90, index);
            let (ip, port) = (address.ip(), address.port());
            self.line(format!("a=candidate:t{index} 1 tcp {priority} {ip} {port} typ host tcptype passive"));
        }
        self.line("a=end-of-candidates");
    }

    fn payload(&mut self, section: &Section, number: u8, feedback: &[&str]) {
        let Some(payload) = section.payloads.iter().find(|payload| payload.number == number) else { return };
        self.line(format!("a=rtpmap:{number} {}", payload.encoding));
        if !payload.format.is_empty() {
            self.line(format!("a=fmtp:{number} {}", payload.format));
        }
        for line in payload.feedback.iter().filter(|line| feedback.contains(&line.as_str())) {
            self.line(format!("a=rtcp-fb:{number} {line}"));
        }
    }

    fn source(&mut self, ssrc: u32) {
        self.line(format!("a=ssrc:{ssrc} cname:farstage"));
        self.line(format!("a=ssrc:{ssrc} msid:farstage {}", if ssrc == self.local.ssrcs.audio { "a" } else { "v" }));
    }

    fn video(&mut self, section: &Section, video: &VideoAgreement) {
        let ssrcs = self.local.ssrcs;
        let numbers = [Some(video.payload), video.rtx_payload];
        let formats: Vec<String> = numbers.iter().flatten().map(u8::to_string).collect();
        self.line(format!("m=video 9 {} {}", section.protocol, formats.join(" ")));
        self.transport(section);
        self.line("a=sendonly");
        self.line("a=rtcp-mux");
        self.line("a=rtcp-rsize");
        let mut feedback = vec!["nack", "nack pli", "ccm fir", "goog-remb"];
        if video.transport_cc.is_some() {
            feedback.push("transport-cc");
        }
        for number in numbers.into_iter().flatten() {
            self.payload(section, number, &feedback);
        }
        let extensions = [
            (video.transport_cc, TRANSPORT_CC_URI),
            (video.playout_delay, PLAYOUT_DELAY_URI),
            (video.capture_time, CAPTURE_TIME_URI),
        ];
        for (id, uri) in extensions {
            if let Some(id) = id {
                self.line(format!("a=extmap:{id} {uri}"));
            }
        }
        self.line("a=msid:farstage v");
        if video.rtx_payload.is_some() {
            self.line(format!("a=ssrc-group:FID {} {}", ssrcs.video, ssrcs.rtx));
        }
        self.source(ssrcs.video);
        if video.rtx_payload.is_some() {
            self.source(ssrcs.rtx);
        }
    }

    fn audio(&mut self, section: &Section, audio: &AudioAgreement) {
        self.line(format!("m=audio 9 {} {}", section.protocol, audio.payload));
        self.transport(section);
        self.line(format!("a={}", section.direction.reversed().name()));
        self.line("a=rtcp-mux");
        self.payload(section, audio.payload, &[]);
        if audio.sends {
            self.line("a=msid:farstage a");
            self.source(self.local.ssrcs.audio);
        }
    }

    fn data(&mut self, section: &Section) {
        self.line(format!("m=application 9 {} webrtc-datachannel", section.protocol));
        self.transport(section);
        self.line("a=sctp-port:5000");
        self.line(format!("a=max-message-size:{}", farstage_transport::channels::MAX_MESSAGE_BYTES));
    }

    fn rejected(&mut self, section: &Section) {
        let formats = if section.formats.is_empty() { "0" } else { &section.formats };
        self.line(format!("m={} 0 {} {formats}", section.media, section.protocol));
        self.line("c=IN IP4 0.0.0.0");
        self.line(format!("a=mid:{}", section.mid));
        self.line("a=inactive");
    }
}

/// RFC 8445, section 5.1.2.1, for component 1.
fn candidate_priority(type_preference: u32, index: usize) -> u32 {
    let local_preference = 65_535 - u32::try_from(index).unwrap_or(65_535).min(65_535);
    (type_preference << 24) + (local_preference << 8) + 255
}
