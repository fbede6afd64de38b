//! Answers: what is agreed with an offer, and the text that says so.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::offer::{Kind, Offer, Payload, Section, Setup};
use super::{CAPTURE_TIME_URI, PLAYOUT_DELAY_URI, SEND_TIME_URI, SdpError, TRANSPORT_CC_URI, refuse};

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
    /// See [`SEND_TIME_URI`]; only without `transport_cc`, which makes it needless.
    pub send_time: Option<u8>,
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
    let payload = choose(section, wanted)?;
    let transport_cc = section.extension(TRANSPORT_CC_URI).filter(|_| payload.has_transport_cc());
    Ok(VideoAgreement {
        payload: payload.number,
        rtx_payload: section.rtx_for(payload.number),
        transport_cc,
        send_time: section.extension(SEND_TIME_URI).filter(|_| transport_cc.is_none()),
        playout_delay: section.extension(PLAYOUT_DELAY_URI),
        capture_time: section.extension(CAPTURE_TIME_URI),
    })
}

/// The payload type for what is wanted.
pub(super) fn choose<'a>(section: &'a Section, wanted: &Wanted) -> Result<&'a Payload, SdpError> {
    find(section, wanted).ok_or_else(|| {
        let profiles = if wanted.profiles.is_empty() { String::new() } else { format!(" {:?}", wanted.profiles) };
        SdpError(format!("the offer has no payload type for {}{profiles}, which the stream has", wanted.encoding))
    })
}

fn find<'a>(section: &'a Section, wanted: &Wanted) -> Option<&'a Payload> {
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

/// Writes an answer section by section.
pub(super) struct AnswerWriter<'a> {
    /// What is written so far.
    pub(super) text: String,
    local: &'a Local,
    setup: &'static str,
}

impl<'a> AnswerWriter<'a> {
    pub(super) fn begin(offer: &Offer, local: &'a Local, starts_dtls: bool, accepted: impl Fn(usize) -> bool) -> Self {
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

    pub(super) fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push_str("\r\n");
    }

    pub(super) fn transport(&mut self, section: &Section) {
        let local = self.local;
        self.line("c=IN IP4 0.0.0.0");
        self.line(format!("a=mid:{}", section.mid));
        self.line(format!("a=ice-ufrag:{}", local.ufrag));
        self.line(format!("a=ice-pwd:{}", local.password));
        let digest: Vec<String> = local.fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
        self.line(format!("a=fingerprint:sha-256 {}", digest.join(":")));
        self.line(format!("a=setup:{}", self.setup));
        // In each section: some clients read those of the last one alone, though all share a transport.
        candidate_lines(&local.udp, &local.tcp, |line| self.line(line));
    }

    pub(super) fn payload(&mut self, section: &Section, number: u8, feedback: &[&str]) {
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
            (video.send_time, SEND_TIME_URI),
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

    pub(super) fn rejected(&mut self, section: &Section) {
        let formats = if section.formats.is_empty() { "0" } else { &section.formats };
        self.line(format!("m={} 0 {} {formats}", section.media, section.protocol));
        self.line("c=IN IP4 0.0.0.0");
        self.line(format!("a=mid:{}", section.mid));
        self.line("a=inactive");
    }
}

/// Where we are, and that this is all.
pub(super) fn candidate_lines(udp: &[SocketAddr], tcp: &[SocketAddr], mut line: impl FnMut(&str)) {
    for (index, address) in udp.iter().enumerate() {
        let priority = candidate_priority(126, index);
        let (ip, port) = (address.ip(), address.port());
        line(&format!("a=candidate:u{index} 1 udp {priority} {ip} {port} typ host"));
    }
    for (index, address) in tcp.iter().enumerate() {
        let priority = candidate_priority(90, index);
        let (ip, port) = (address.ip(), address.port());
        line(&format!("a=candidate:t{index} 1 tcp {priority} {ip} {port} typ host tcptype passive"));
    }
    line("a=end-of-candidates");
}

/// RFC 8445, section 5.1.2.1, for component 1.
fn candidate_priority(type_preference: u32, index: usize) -> u32 {
    let local_preference = 65_535 - u32::try_from(index).unwrap_or(65_535).min(65_535);
    (type_preference << 24) + (local_preference << 8) + 255
}
