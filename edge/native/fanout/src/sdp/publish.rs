//! Answers to publishers: WHIP (RFC 9725) clients that send, perhaps several encodings side by side (RFC 8853).

use farstage_rtp::packetize::Codec;

use super::answer::{AnswerWriter, Local, Wanted, choose};
use super::offer::{Kind, Offer, Section, Setup};
use super::{MID_URI, REPAIRED_RID_URI, RID_URI, SdpError, TRANSPORT_CC_URI, refuse};

/// The most encodings of one picture that are taken.
pub const MAX_LAYERS: usize = 3;

/// What an answer to a publisher settles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishAgreement {
    /// How the pictures are encoded.
    pub codec: Codec,
    /// Payload type of the pictures.
    pub payload: u8,
    /// Payload type of packets sent again; `None` expects the same packet.
    pub rtx_payload: Option<u8>,
    /// Whether the publisher sends packets again that are asked for.
    pub repeats: bool,
    /// Payload type of the sound, Opus.
    pub audio_payload: Option<u8>,
    /// Names of the encodings, by which their packets are known; empty where there is but one.
    pub rids: Vec<String>,
    /// See [`RID_URI`].
    pub rid: Option<u8>,
    /// See [`REPAIRED_RID_URI`].
    pub repaired_rid: Option<u8>,
    /// See [`TRANSPORT_CC_URI`].
    pub transport_cc: Option<u8>,
    /// See [`MID_URI`]; agreed to, and not looked at, as payload types tell pictures and sound apart.
    pub mid: Option<u8>,
    /// Whether the edge starts the DTLS handshake.
    pub starts_dtls: bool,
}

impl PublishAgreement {
    /// How many encodings there are.
    pub fn layers(&self) -> usize {
        self.rids.len().max(1)
    }
}

/// Answer a publisher's offer, with at most `max_layers` of its encodings: the first that it lists.
///
/// # Errors
/// [`SdpError`] where the offer has not what is wanted.
pub fn answer_publisher(
    offer: &Offer,
    wanted: &Wanted,
    max_layers: usize,
    local: &Local,
) -> Result<(String, PublishAgreement), SdpError> {
    let at_of = |kind| offer.sections.iter().position(|section| section.kind == kind);
    let Some(video_at) = at_of(Kind::Video) else { return refuse("the offer has no video section to publish") };
    let audio_at = at_of(Kind::Audio);
    let audio_payload = audio_at.and_then(|at| offer.sections.get(at)).and_then(opus);
    let agreement = PublishAgreement {
        audio_payload,
        starts_dtls: offer.setup == Setup::Passive,
        ..agree(&offer.sections[video_at], wanted, max_layers)?
    };
    let is_audio = |at: usize| Some(at) == audio_at && audio_payload.is_some();
    let mut writer = AnswerWriter::begin(offer, local, agreement.starts_dtls, |at| at == video_at || is_audio(at));
    for (at, section) in offer.sections.iter().enumerate() {
        match audio_payload {
            _ if at == video_at => write_video(&mut writer, section, &agreement),
            Some(payload) if is_audio(at) => write_audio(&mut writer, section, payload),
            _ => writer.rejected(section),
        }
    }
    Ok((writer.text, agreement))
}

fn agree(section: &Section, wanted: &Wanted, max_layers: usize) -> Result<PublishAgreement, SdpError> {
    let payload = choose(section, wanted)?;
    let rid = section.extension(RID_URI);
    let names = section.simulcast.iter().filter(|name| section.rids.contains(name));
    let rids: Vec<String> = names.filter(|_| rid.is_some()).take(max_layers.clamp(1, MAX_LAYERS)).cloned().collect();
    Ok(PublishAgreement {
        codec: codec_of(&wanted.encoding)?,
        payload: payload.number,
        rtx_payload: section.rtx_for(payload.number),
        repeats: payload.feedback.iter().any(|line| line == "nack"),
        audio_payload: None,
        rid,
        repaired_rid: section.extension(REPAIRED_RID_URI).filter(|_| !rids.is_empty()),
        transport_cc: section.extension(TRANSPORT_CC_URI).filter(|_| payload.has_transport_cc()),
        mid: section.extension(MID_URI),
        rids,
        starts_dtls: false,
    })
}

fn codec_of(encoding: &str) -> Result<Codec, SdpError> {
    let known = [("H264", Codec::H264), ("VP8", Codec::Vp8), ("AV1", Codec::Av1)];
    match known.iter().find(|(name, _)| name.eq_ignore_ascii_case(encoding)) {
        Some((_, codec)) => Ok(*codec),
        None => refuse(format!("pictures in {encoding} are not taken; known are H264, VP8, AV1")),
    }
}

fn opus(section: &Section) -> Option<u8> {
    let payload = section.payloads.iter().find(|payload| payload.is("opus"))?;
    section.direction.sends().then_some(payload.number)
}

fn write_video(writer: &mut AnswerWriter<'_>, section: &Section, agreement: &PublishAgreement) {
    let numbers = [Some(agreement.payload), agreement.rtx_payload];
    let formats: Vec<String> = numbers.iter().flatten().map(u8::to_string).collect();
    writer.line(format!("m=video 9 {} {}", section.protocol, formats.join(" ")));
    writer.transport(section);
    writer.line("a=recvonly");
    writer.line("a=rtcp-mux");
    writer.line("a=rtcp-rsize");
    let mut feedback = vec!["nack", "nack pli", "ccm fir"];
    feedback.extend(agreement.transport_cc.map(|_| "transport-cc"));
    for number in numbers.into_iter().flatten() {
        writer.payload(section, number, &feedback);
    }
    let extensions = [
        (agreement.mid, MID_URI),
        (agreement.rid, RID_URI),
        (agreement.repaired_rid, REPAIRED_RID_URI),
        (agreement.transport_cc, TRANSPORT_CC_URI),
    ];
    for (id, uri) in extensions {
        if let Some(id) = id {
            writer.line(format!("a=extmap:{id} {uri}"));
        }
    }
    for rid in &agreement.rids {
        writer.line(format!("a=rid:{rid} recv"));
    }
    if !agreement.rids.is_empty() {
        writer.line(format!("a=simulcast:recv {}", agreement.rids.join(";")));
    }
}

fn write_audio(writer: &mut AnswerWriter<'_>, section: &Section, payload: u8) {
    writer.line(format!("m=audio 9 {} {payload}", section.protocol));
    writer.transport(section);
    writer.line("a=recvonly");
    writer.line("a=rtcp-mux");
    writer.payload(section, payload, &[]);
}
