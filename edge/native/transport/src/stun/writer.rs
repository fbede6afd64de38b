//! Writing Binding messages, each appended to a buffer of the caller.

use std::net::SocketAddr;

use super::attributes::{self as attribute, IceRole};
use super::checksum::{INTEGRITY_LENGTH, IntegrityKey, fingerprint};
use super::{Class, HEADER_LENGTH, MAGIC_COOKIE, TransactionId};

/// A connectivity or consent check (RFC 8445 section 7.1, RFC 7675).
#[derive(Clone, Copy, Debug)]
pub struct BindingRequest<'a> {
    /// Names this check in its response; random, a new one each time.
    pub transaction_id: TransactionId,
    /// The peer's fragment, a colon, our fragment.
    pub username: &'a [u8],
    /// PRIORITY of a peer-reflexive candidate learnt from this check (RFC 8445 section 5.1.2).
    pub priority: u32,
    /// Our role and tie-breaker.
    pub role: IceRole,
    /// Nominate the pair; only for the controlling side.
    pub use_candidate: bool,
}

/// Appends a Binding request, signed with the peer's password.
pub fn write_binding_request(out: &mut Vec<u8>, request: &BindingRequest<'_>, key: &IntegrityKey) {
    let mut writer = Writer::start(out, Class::Request, request.transaction_id);
    writer.attribute(attribute::USERNAME, request.username);
    let (role, tie_breaker) = match request.role {
        IceRole::Controlling(tie_breaker) => (attribute::ICE_CONTROLLING, tie_breaker),
        IceRole::Controlled(tie_breaker) => (attribute::ICE_CONTROLLED, tie_breaker),
    };
    writer.attribute(role, &tie_breaker.to_be_bytes());
    if request.use_candidate {
        writer.attribute(attribute::USE_CANDIDATE, &[]);
    }
    writer.attribute(attribute::PRIORITY, &request.priority.to_be_bytes());
    writer.finish(Some(key));
}

/// Appends the success response to a request that came from `mapped`, signed with our password.
pub fn write_binding_success(out: &mut Vec<u8>, id: TransactionId, mapped: SocketAddr, key: &IntegrityKey) {
    let mut writer = Writer::start(out, Class::Success, id);
    writer.attribute_header(attribute::XOR_MAPPED_ADDRESS, attribute::address_length(mapped));
    attribute::write_address(writer.out, mapped, &id);
    writer.finish(Some(key));
}

/// Appends an error response: `code` as 400 (bad request), 420 (`unknown` names the attributes) or 487 (role
/// conflict, RFC 8445 section 7.3.1.1). Without a key (the request was not authenticated) it carries no integrity.
pub fn write_binding_error(
    out: &mut Vec<u8>,
    id: TransactionId,
    code: u16,
    unknown: &[u16],
    key: Option<&IntegrityKey>,
) {
    let mut writer = Writer::start(out, Class::Error, id);
    let class = (code / 100).min(6) as u8;
    writer.attribute(attribute::ERROR_CODE, &[0, 0, class, (code % 100) as u8]);
    if !unknown.is_empty() {
        writer.attribute_header(attribute::UNKNOWN_ATTRIBUTES, unknown.len() * 2);
        writer.out.extend(unknown.iter().flat_map(|kind| kind.to_be_bytes()));
        writer.pad();
    }
    writer.finish(key);
}

/// One message being appended.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    fn start(out: &'a mut Vec<u8>, class: Class, id: TransactionId) -> Self {
        let start = out.len();
        out.extend_from_slice(&class.binding_type().to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&MAGIC_COOKIE);
        out.extend_from_slice(&id.0);
        Self { out, start }
    }

    fn attribute_header(&mut self, kind: u16, length: usize) {
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out.extend_from_slice(&clamp(length).to_be_bytes());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.attribute_header(kind, value.len());
        self.out.extend_from_slice(value);
        self.pad();
    }

    /// Attributes begin at multiples of four octets from the header.
    fn pad(&mut self) {
        let length = (self.out.len() - self.start).next_multiple_of(4);
        self.out.resize(self.start + length, 0);
    }

    /// Adds MESSAGE-INTEGRITY and FINGERPRINT.
    fn finish(mut self, key: Option<&IntegrityKey>) {
        if let Some(key) = key {
            let code: [u8; INTEGRITY_LENGTH] = key.sign(&self.out[self.start..]);
            self.attribute(attribute::MESSAGE_INTEGRITY, &code);
        }
        self.set_length(8);
        let value = fingerprint(&self.out[self.start..]);
        self.attribute(attribute::FINGERPRINT, &value.to_be_bytes());
    }

    /// Sets the length field for what is written and `ahead` octets more.
    fn set_length(&mut self, ahead: usize) {
        let length = clamp(self.out.len() - self.start - HEADER_LENGTH + ahead).to_be_bytes();
        self.out[self.start + 2..self.start + 4].copy_from_slice(&length);
    }
}

fn clamp(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}
