//! Reading a Binding message.

use std::net::SocketAddr;

use super::attributes::{self as attribute, IceRole, UnknownAttributes};
use super::checksum::{INTEGRITY_LENGTH, IntegrityKey, fingerprint};
use super::{HEADER_LENGTH, MAGIC_COOKIE};

const BINDING: u16 = 0x0001;
/// Octets of an attribute's type and length.
const ATTRIBUTE_HEADER: usize = 4;

/// Why a datagram is not a message this module takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StunError {
    /// No STUN header: too short, other first bits, or no magic cookie.
    NotStun,
    /// The length field disagrees with the datagram, or is no multiple of four.
    Length,
    /// The method is not Binding.
    Method,
    /// An attribute reaches past the end of the message.
    AttributeLength,
    /// An attribute that is understood has a value that cannot be.
    AttributeValue,
    /// The FINGERPRINT is wrong or is not the last attribute.
    Fingerprint,
}

impl std::fmt::Display for StunError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::NotStun => "no STUN header",
            Self::Length => "STUN length field disagrees with the datagram",
            Self::Method => "STUN method is not Binding",
            Self::AttributeLength => "STUN attribute reaches past the end",
            Self::AttributeValue => "STUN attribute has an impossible value",
            Self::Fingerprint => "STUN fingerprint is wrong or not last",
        })
    }
}

impl std::error::Error for StunError {}

/// What a message is (RFC 8489 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Wants a response.
    Request,
    /// Wants none.
    Indication,
    /// Answers a request.
    Success,
    /// Refuses a request.
    Error,
}

impl Class {
    /// The type field of a Binding message of this class.
    pub(crate) fn binding_type(self) -> u16 {
        BINDING
            | match self {
                Self::Request => 0x0000,
                Self::Indication => 0x0010,
                Self::Success => 0x0100,
                Self::Error => 0x0110,
            }
    }

    fn of(message_type: u16) -> Result<Self, StunError> {
        [Self::Request, Self::Indication, Self::Success, Self::Error]
            .into_iter()
            .find(|class| class.binding_type() == message_type)
            .ok_or(StunError::Method)
    }
}

/// Ties a response to its request (96 random bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransactionId(pub [u8; 12]);

/// A Binding message, borrowed from its datagram.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Request, indication or response.
    pub class: Class,
    /// The transaction.
    pub transaction_id: TransactionId,
    /// USERNAME: in ICE the receiver's fragment, a colon, the sender's fragment.
    pub username: Option<&'a [u8]>,
    /// PRIORITY a peer-reflexive candidate from this check would have.
    pub priority: Option<u32>,
    /// USE-CANDIDATE: the controlling side nominates this pair.
    pub use_candidate: bool,
    /// ICE-CONTROLLING or ICE-CONTROLLED.
    pub role: Option<IceRole>,
    /// XOR-MAPPED-ADDRESS: where the request came from, as its receiver saw it.
    pub mapped_address: Option<SocketAddr>,
    /// ERROR-CODE, 300 to 699.
    pub error_code: Option<u16>,
    /// Whether a FINGERPRINT was there (and correct).
    pub has_fingerprint: bool,
    /// Attributes that oblige the receiver of a request to refuse it.
    pub unknown_required: UnknownAttributes,
    datagram: &'a [u8],
    integrity_offset: Option<usize>,
}

impl<'a> Message<'a> {
    /// Whether MESSAGE-INTEGRITY is there and was made with `key`. Attributes after it are ignored by [`parse`], so
    /// nothing but the fingerprint escapes the check.
    pub fn verify(&self, key: &IntegrityKey) -> bool {
        self.integrity_offset.is_some_and(|offset| {
            let code_start = offset + ATTRIBUTE_HEADER;
            let message = self.datagram.get(..offset).unwrap_or_default();
            let code = self.datagram.get(code_start..code_start + INTEGRITY_LENGTH).unwrap_or_default();
            key.verify(message, code)
        })
    }

    /// Whether MESSAGE-INTEGRITY is there, right or wrong.
    pub fn has_integrity(&self) -> bool {
        self.integrity_offset.is_some()
    }

    /// USERNAME at its colon: (fragment of the receiver, fragment of the sender).
    pub fn username_fragments(&self) -> Option<(&'a [u8], &'a [u8])> {
        let username = self.username?;
        let colon = username.iter().position(|&byte| byte == b':')?;
        Some((username.get(..colon)?, username.get(colon + 1..)?))
    }

    fn take(&mut self, kind: u16, value: &'a [u8], offset: usize) -> Result<(), StunError> {
        match kind {
            attribute::USERNAME => keep_first(&mut self.username, value),
            attribute::PRIORITY => keep_first(&mut self.priority, u32::from_be_bytes(fixed(value)?)),
            attribute::USE_CANDIDATE => self.use_candidate = true,
            attribute::ICE_CONTROLLED => {
                keep_first(&mut self.role, IceRole::Controlled(u64::from_be_bytes(fixed(value)?)));
            }
            attribute::ICE_CONTROLLING => {
                keep_first(&mut self.role, IceRole::Controlling(u64::from_be_bytes(fixed(value)?)));
            }
            attribute::XOR_MAPPED_ADDRESS => {
                let address = attribute::read_address(value, &self.transaction_id);
                keep_first(&mut self.mapped_address, address.ok_or(StunError::AttributeValue)?);
            }
            attribute::ERROR_CODE => keep_first(&mut self.error_code, error_code(value)?),
            attribute::MESSAGE_INTEGRITY => {
                fixed::<INTEGRITY_LENGTH>(value)?;
                keep_first(&mut self.integrity_offset, offset);
            }
            unknown if attribute::is_unknown_required(unknown) => self.unknown_required.push(unknown),
            _ => {}
        }
        Ok(())
    }
}

/// Whether `datagram` claims to be STUN (RFC 7983 section 7, and the magic cookie): the test a demultiplexer makes.
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_LENGTH && datagram[0] < 4 && datagram[4..8] == MAGIC_COOKIE
}

/// Reads a Binding message that fills `datagram` exactly.
///
/// # Errors
/// [`StunError`] for everything that is not a well-formed Binding message with a right FINGERPRINT (or none).
pub fn parse(datagram: &[u8]) -> Result<Message<'_>, StunError> {
    let mut message = parse_header(datagram)?;
    let mut offset = HEADER_LENGTH;
    while offset < datagram.len() {
        let header: [u8; ATTRIBUTE_HEADER] = slice(datagram, offset, ATTRIBUTE_HEADER).and_then(fixed)?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let value = slice(datagram, offset + ATTRIBUTE_HEADER, length)?;
        let next = offset + ATTRIBUTE_HEADER + length.next_multiple_of(4);
        if kind == attribute::FINGERPRINT {
            check_fingerprint(datagram, offset, value, next)?;
            message.has_fingerprint = true;
        } else if message.integrity_offset.is_none() {
            message.take(kind, value, offset)?;
        }
        offset = next;
    }
    Ok(message)
}

fn parse_header(datagram: &[u8]) -> Result<Message<'_>, StunError> {
    if !is_stun(datagram) {
        return Err(StunError::NotStun);
    }
    let length = usize::from(u16::from_be_bytes([datagram[2], datagram[3]]));
    if length % 4 != 0 || length + HEADER_LENGTH != datagram.len() {
        return Err(StunError::Length);
    }
    Ok(Message {
        class: Class::of(u16::from_be_bytes([datagram[0], datagram[1]]))?,
        transaction_id: TransactionId(slice(datagram, 8, 12).and_then(fixed)?),
        username: None,
        priority: None,
        use_candidate: false,
        role: None,
        mapped_address: None,
        error_code: None,
        has_fingerprint: false,
        unknown_required: UnknownAttributes::default(),
        datagram,
        integrity_offset: None,
    })
}

fn check_fingerprint(datagram: &[u8], offset: usize, value: &[u8], next: usize) -> Result<(), StunError> {
    let expected = fingerprint(datagram.get(..offset).unwrap_or_default()).to_be_bytes();
    if next == datagram.len() && value == expected { Ok(()) } else { Err(StunError::Fingerprint) }
}

/// ERROR-CODE (RFC 8489 section 14.8): hundreds in three bits, the rest in an octet, then a reason phrase.
fn error_code(value: &[u8]) -> Result<u16, StunError> {
    match value {
        [_, _, class, number, ..] if (3..7).contains(&(class & 7)) && *number < 100 => {
            Ok(u16::from(class & 7) * 100 + u16::from(*number))
        }
        _ => Err(StunError::AttributeValue),
    }
}

/// The first of several attributes of a type counts (RFC 8489 section 14).
fn keep_first<T>(slot: &mut Option<T>, value: T) {
    slot.get_or_insert(value);
}

fn slice(datagram: &[u8], start: usize, length: usize) -> Result<&[u8], StunError> {
    datagram.get(start..start + length).ok_or(StunError::AttributeLength)
}

fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], StunError> {
    value.try_into().map_err(|_| StunError::AttributeValue)
}
