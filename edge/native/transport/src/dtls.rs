//! DTLS with SRTP keys (RFC 6347, RFC 9147, RFC 5764) for one peer, sans-IO: datagrams and time go in by
//! [`DtlsPeer::handle`] and [`DtlsPeer::handle_timeout`], everything else comes out of [`DtlsPeer::poll`].
//!
//! The handshake itself is dimpl's. This module adds what WebRTC needs around it: one validated identity and
//! configuration for all peers, the check of the peer's certificate against the fingerprint of its SDP (RFC 8122)
//! before any key is given out, and a peer that answers every call after its end with an error.

mod config;
mod peer;

pub use config::{DtlsConfig, DtlsSettings, Identity, Versions, fingerprint_sha256};
pub use peer::{DtlsError, DtlsEvent, DtlsPeer, Role, SrtpKeys};

#[cfg(test)]
mod tests;
