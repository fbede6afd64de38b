//! Which packets are whose: SSRCs and what they carry, learnt from header extensions and payload types.

use farstage_rtp::header::RtpHeader;

use crate::sdp::PublishAgreement;

/// What a source carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Opus.
    Sound,
    /// The pictures of this layer.
    Layer(usize),
    /// Packets of this layer that are sent again (RFC 4588).
    Repeats(usize),
}

/// The sources in use: one for each that was agreed on, so that a publisher that invents SSRCs has nothing remembered.
#[derive(Debug, Default)]
pub(super) struct Sources {
    known: Vec<(u32, Source)>,
}

impl Sources {
    /// What the packet's source carries; `None` if that was not agreed on. The SSRC that came last stands for what it
    /// carries: an encoder that is set up anew changes it.
    pub(super) fn find(&mut self, header: &RtpHeader<'_>, agreement: &PublishAgreement) -> Option<Source> {
        if let Some(source) = self.of(header.ssrc()) {
            return Some(source).filter(|source| payload_of(*source, agreement) == Some(header.payload_type()));
        }
        let source = learn(header, agreement)?;
        self.known.retain(|(_, other)| *other != source);
        self.known.push((header.ssrc(), source));
        Some(source)
    }

    /// What this source carries, if it is known.
    pub(super) fn of(&self, ssrc: u32) -> Option<Source> {
        self.known.iter().find(|(known, _)| *known == ssrc).map(|(_, source)| *source)
    }
}

fn payload_of(source: Source, agreement: &PublishAgreement) -> Option<u8> {
    match source {
        Source::Sound => agreement.audio_payload,
        Source::Layer(_) => Some(agreement.payload),
        Source::Repeats(_) => agreement.rtx_payload,
    }
}

fn learn(header: &RtpHeader<'_>, agreement: &PublishAgreement) -> Option<Source> {
    let number = header.payload_type();
    if Some(number) == agreement.audio_payload {
        Some(Source::Sound)
    } else if number == agreement.payload {
        layer(header, agreement, agreement.rid).map(Source::Layer)
    } else if Some(number) == agreement.rtx_payload {
        layer(header, agreement, agreement.repaired_rid).map(Source::Repeats)
    } else {
        None
    }
}

fn layer(header: &RtpHeader<'_>, agreement: &PublishAgreement, extension: Option<u8>) -> Option<usize> {
    if agreement.rids.is_empty() {
        return Some(0);
    }
    let name = header.extension(extension?)?;
    agreement.rids.iter().position(|rid| rid.as_bytes() == name)
}
