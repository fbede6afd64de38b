//! STUN Binding messages as ICE uses them (RFC 8489, RFC 8445).
//!
//! [`parse`] borrows from the datagram and allocates nothing; the writers append to a buffer of the caller, so a
//! framing prefix (RFC 4571) can stand before the message. A message that carries a FINGERPRINT has it checked by
//! `parse`; MESSAGE-INTEGRITY needs the password and is checked by [`Message::verify`].

mod attributes;
mod checksum;
mod message;
mod writer;

pub use attributes::{IceRole, UnknownAttributes};
pub use checksum::IntegrityKey;
pub use message::{Class, Message, StunError, TransactionId, is_stun, parse};
pub use writer::{BindingRequest, write_binding_error, write_binding_request, write_binding_success};

/// The value in octets 4 to 7 of each message (RFC 8489 section 5).
pub(crate) const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Octets before the first attribute (RFC 8489 section 5).
pub(crate) const HEADER_LENGTH: usize = 20;

#[cfg(test)]
mod tests;
