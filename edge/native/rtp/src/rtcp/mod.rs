//! Compound RTCP packets (RFC 3550 section 6, reduced size: RFC 5506), read and written.
//!
//! [`read_compound`] iterates over the packets of one decrypted datagram. A malformed packet ends the iteration
//! with an error, and what came before it is still good. Views borrow the datagram; nothing allocates. The
//! writers append to a `Vec`, so calls in a row make a compound packet.

mod feedback;
mod reports;
mod transport_feedback;
mod write;

use crate::bytes::{read_u16, read_u32};

pub use feedback::{Fir, FirEntry, Nack, Pli, Remb};
pub use reports::{Bye, ReceiverReport, ReportBlock, Sdes, SenderInfo, SenderReport, middle_of_ntp};
pub use transport_feedback::{PacketStatus, TransportFeedback};
pub use write::{
    write_bye, write_fir, write_nack, write_pli, write_receiver_report, write_remb, write_sdes, write_sender_report,
    write_transport_feedback,
};

/// Packet types (RFC 3550 section 12.1, RFC 4585 section 6.1).
mod packet_type {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SDES: u8 = 202;
    pub(super) const BYE: u8 = 203;
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
}

/// Formats of feedback packets (RFC 4585 sections 6.2 and 6.3, RFC 5104 section 4.3.1).
mod feedback_format {
    pub(super) const NACK: u8 = 1;
    pub(super) const TRANSPORT_WIDE: u8 = 15;
    pub(super) const PLI: u8 = 1;
    pub(super) const FIR: u8 = 4;
    pub(super) const APPLICATION: u8 = 15;
}

/// Length of the header that all packets share, in bytes.
const HEADER_LEN: usize = 4;

/// One packet of a compound.
#[derive(Clone, Debug)]
pub enum Rtcp<'a> {
    /// Reception and transmission statistics of a sender (RFC 3550 section 6.4.1).
    SenderReport(SenderReport<'a>),
    /// Reception statistics (RFC 3550 section 6.4.2).
    ReceiverReport(ReceiverReport<'a>),
    /// Packets asked for again (RFC 4585 section 6.2.1).
    Nack(Nack<'a>),
    /// The picture is lost (RFC 4585 section 6.3.1).
    Pli(Pli),
    /// A keyframe is wanted (RFC 5104 section 4.3.1).
    Fir(Fir<'a>),
    /// The receiver's estimate of its bandwidth (draft-alvestrand-rmcat-remb-03).
    Remb(Remb<'a>),
    /// Arrival times of packets (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    TransportFeedback(TransportFeedback<'a>),
    /// Sources that leave (RFC 3550 section 6.6).
    Bye(Bye<'a>),
    /// Names of sources (RFC 3550 section 6.5).
    Sdes(Sdes<'a>),
    /// A well-formed packet of another kind, which has been skipped.
    Other {
        /// Its packet type.
        packet_type: u8,
        /// Its count or format field.
        format: u8,
    },
}

/// The rest of a compound cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedRtcp;

impl std::fmt::Display for MalformedRtcp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a packet of the RTCP compound contradicts its own lengths or counts")
    }
}

impl std::error::Error for MalformedRtcp {}

/// Iterates over the packets of one decrypted RTCP datagram.
pub fn read_compound(datagram: &[u8]) -> Compound<'_> {
    Compound { rest: datagram }
}

/// Iterator over the packets of a compound; ends after the first error.
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Rtcp<'a>, MalformedRtcp>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let packet = self.cut().and_then(|raw| raw.read()).ok_or(MalformedRtcp);
        if packet.is_err() {
            self.rest = &[];
        }
        Some(packet)
    }
}

impl<'a> Compound<'a> {
    /// Cuts the first packet off and strips its padding.
    fn cut(&mut self) -> Option<RawPacket<'a>> {
        let first = *self.rest.first()?;
        let packet_type = *self.rest.get(1)?;
        let len = HEADER_LEN + 4 * usize::from(read_u16(self.rest, 2)?);
        let body = self.rest.get(HEADER_LEN..len)?;
        self.rest = &self.rest[len..];
        let format = first & 0x1F;
        let may_be_odd = packet_type == packet_type::TRANSPORT_FEEDBACK && format == feedback_format::TRANSPORT_WIDE;
        let body = if first & 0x20 == 0 { body } else { without_padding(body, may_be_odd)? };
        let is_version_2 = first >> 6 == 2;
        is_version_2.then_some(RawPacket { format, packet_type, body })
    }
}

/// Padding has whole words (RFC 3550, section 6.4.1). Of transport-wide feedback it fills the last one, as browsers write
/// it, and has 1 to 3 bytes (draft-holmer-rmcat-transport-wide-cc-extensions-01, section 3.1).
fn without_padding(body: &[u8], may_be_odd: bool) -> Option<&[u8]> {
    let padding = usize::from(*body.last()?);
    let is_right = padding > 0 && (may_be_odd || padding.is_multiple_of(4));
    body.get(..body.len().checked_sub(padding)?).filter(|_| is_right)
}

/// A packet whose outer length is right; `body` follows the header and has whole words but for transport-wide feedback.
struct RawPacket<'a> {
    format: u8,
    packet_type: u8,
    body: &'a [u8],
}

impl<'a> RawPacket<'a> {
    fn read(&self) -> Option<Rtcp<'a>> {
        let count = usize::from(self.format);
        match self.packet_type {
            packet_type::SENDER_REPORT => SenderReport::read(count, self.body).map(Rtcp::SenderReport),
            packet_type::RECEIVER_REPORT => ReceiverReport::read(count, self.body).map(Rtcp::ReceiverReport),
            packet_type::SDES => Sdes::read(count, self.body).map(Rtcp::Sdes),
            packet_type::BYE => Bye::read(count, self.body).map(Rtcp::Bye),
            packet_type::TRANSPORT_FEEDBACK => self.read_transport_feedback(),
            packet_type::PAYLOAD_FEEDBACK => self.read_payload_feedback(),
            _ => Some(self.other()),
        }
    }

    fn read_transport_feedback(&self) -> Option<Rtcp<'a>> {
        let (sources, control) = Sources::read(self.body)?;
        match self.format {
            feedback_format::NACK => Nack::read(sources, control).map(Rtcp::Nack),
            feedback_format::TRANSPORT_WIDE => TransportFeedback::read(sources, control).map(Rtcp::TransportFeedback),
            _ => Some(self.other()),
        }
    }

    fn read_payload_feedback(&self) -> Option<Rtcp<'a>> {
        let (sources, control) = Sources::read(self.body)?;
        match self.format {
            feedback_format::PLI => Some(Rtcp::Pli(Pli::new(sources))),
            feedback_format::FIR => Fir::read(sources, control).map(Rtcp::Fir),
            feedback_format::APPLICATION if Remb::is_named_in(control) => Remb::read(sources, control).map(Rtcp::Remb),
            _ => Some(self.other()),
        }
    }

    fn other(&self) -> Rtcp<'a> {
        Rtcp::Other { packet_type: self.packet_type, format: self.format }
    }
}

/// Who sends feedback, and about whom (RFC 4585 section 6.1).
#[derive(Clone, Copy)]
struct Sources {
    sender: u32,
    media: u32,
}

impl Sources {
    /// Both sources and the feedback control information after them.
    fn read(body: &[u8]) -> Option<(Self, &[u8])> {
        let sources = Self { sender: read_u32(body, 0)?, media: read_u32(body, 4)? };
        Some((sources, body.get(8..)?))
    }
}
