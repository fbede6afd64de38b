//! Offers: the parser, and what it found.

use super::{Direction, SdpError, refuse};

/// Media sections of one offer.
pub const MAX_SECTIONS: usize = 8;
/// Payload types read of one section.
const MAX_PAYLOADS: usize = 64;
pub(super) const MAX_LINE_BYTES: usize = 4_096;
const MAX_MID_BYTES: usize = 32;
const MAX_CREDENTIAL_BYTES: usize = 256;
/// Encodings read of one section.
const MAX_RIDS: usize = 8;
/// What a header extension of the one-byte form holds.
const MAX_RID_BYTES: usize = 16;
/// What is kept of `rtcp-fb`; lines for all payload types would otherwise multiply what an offer makes us keep.
const KNOWN_FEEDBACK: [&str; 5] = ["nack", "nack pli", "ccm fir", "goog-remb", "transport-cc"];

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

/// One payload type of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// RTP payload type.
    pub number: u8,
    /// Encoding name and clock rate as offered, such as `H264/90000`.
    pub encoding: String,
    /// The `fmtp` parameters as offered; empty without.
    pub format: String,
    /// The `rtcp-fb` lines that are known, as offered.
    pub feedback: Vec<String>,
}

impl Payload {
    pub(super) fn is(&self, name: &str) -> bool {
        self.encoding.split('/').next().is_some_and(|own| own.eq_ignore_ascii_case(name))
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
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
    pub(super) media: String,
    /// Transport protocol, as offered.
    pub(super) protocol: String,
    pub(super) formats: String,
    /// Its name within the bundle.
    pub mid: String,
    /// Which way.
    pub direction: Direction,
    /// Payload types in the author's order.
    pub payloads: Vec<Payload>,
    /// Header extensions: identifier and URI.
    pub extensions: Vec<(u8, String)>,
    /// The encodings that its author sends side by side, in the order of `a=simulcast` (RFC 8853); empty without.
    pub simulcast: Vec<String>,
    /// The names of `a=rid` with `send` (RFC 8851).
    pub(super) rids: Vec<String>,
}

impl Section {
    /// The identifier of a header extension that was offered and fits the one-byte form.
    pub fn extension(&self, uri: &str) -> Option<u8> {
        self.extensions.iter().find(|(id, own)| own == uri && (1..=14).contains(id)).map(|(id, _)| *id)
    }

    pub(super) fn rtx_for(&self, payload: u8) -> Option<u8> {
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
    /// Read and check the offer of a viewer. Errors say what is missing or wrong.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        let offer = Self::read(text)?;
        match offer.section(Kind::Video) {
            None => refuse("the offer has no video section to receive"),
            Some(video) if video.direction.receives() => Ok(offer),
            Some(_) => refuse("the video section must receive: a=recvonly or a=sendrecv"),
        }
    }

    /// Read and check the offer of a publisher. Errors say what is missing or wrong.
    pub fn parse_published(text: &str) -> Result<Self, SdpError> {
        let offer = Self::read(text)?;
        match offer.section(Kind::Video) {
            None => refuse("the offer has no video section to publish"),
            Some(video) if video.direction.sends() => Ok(offer),
            Some(_) => refuse("the video section must send: a=sendonly or a=sendrecv; here publishers are answered"),
        }
    }

    fn read(text: &str) -> Result<Self, SdpError> {
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
        // An answer repeats some of an offer: nothing of it may end a line there.
        if line.contains(|c: char| c.is_control() && c != '\t') {
            return refuse("a line has a control character");
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
        let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_graphic());
        if media.split(' ').count() < 4 || !media.split(' ').all(is_word) {
            return refuse("a media line must have a kind, a port, a protocol and formats (RFC 8866, section 5.14)");
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
            simulcast: Vec::new(),
            rids: Vec::new(),
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

pub(super) fn keep_credential(slot: &mut Option<String>, value: &str) -> Result<(), SdpError> {
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
        let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit()))?;
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
            check_mid(value)?;
            section.mid = value.to_owned();
        }
        "rtpmap" => with_payload(section, value, |payload, text| payload.encoding = text.to_owned()),
        "fmtp" => with_payload(section, value, |payload, text| payload.format = text.to_owned()),
        "rtcp-fb" => take_feedback(section, value),
        "extmap" => take_extension(section, value),
        "rid" => take_rid(section, value),
        "simulcast" => take_simulcast(section, value),
        _ => {}
    }
    Ok(())
}

pub(super) fn check_mid(value: &str) -> Result<(), SdpError> {
    if value.is_empty() || value.len() > MAX_MID_BYTES || !value.chars().all(|c| c.is_ascii_graphic()) {
        return refuse(format!("a mid must be 1 to {MAX_MID_BYTES} printable characters"));
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
    let Some((number, text)) = value.split_once(' ') else { return };
    let number = number.parse::<u8>().ok();
    let Some(known) = KNOWN_FEEDBACK.iter().find(|known| **known == text.trim()) else { return };
    for payload in &mut section.payloads {
        if number.is_none_or(|n| n == payload.number) && !payload.feedback.iter().any(|line| line == known) {
            payload.feedback.push((*known).to_owned());
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

/// `hi send`, perhaps with restrictions, which the answer does not repeat.
fn take_rid(section: &mut Section, value: &str) {
    let mut words = value.split(' ');
    let name = words.next().unwrap_or_default();
    if words.next() == Some("send") && is_rid(name) && section.rids.len() < MAX_RIDS {
        section.rids.push(name.to_owned());
    }
}

/// `send hi;~mid;lo,other`: of alternatives the first, and paused ones too, as they may be resumed.
fn take_simulcast(section: &mut Section, value: &str) {
    let mut words = value.split(' ');
    let list = words.find(|word| *word == "send").and_then(|_| words.next()).unwrap_or_default();
    let first = |layer: &str| layer.split(',').next().unwrap_or_default().trim_start_matches('~').to_owned();
    section.simulcast.clear();
    for name in list.split(';').map(first).filter(|name| is_rid(name)) {
        if section.simulcast.len() < MAX_RIDS && !section.simulcast.contains(&name) {
            section.simulcast.push(name);
        }
    }
}

fn is_rid(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=MAX_RID_BYTES).contains(&name.len()) && name.chars().all(allowed)
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
