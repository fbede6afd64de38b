//! One peer's handshake and records.

use std::time::Instant;

use dimpl::{Dtls, Output};
use farstage_rtp::srtp::{KeyLengthError, MasterKey, Profile, split_keying_material};

use super::{DtlsConfig, Versions, fingerprint_sha256};

/// Octets a poll buffer gets before the first call, so that a full datagram fits.
const POLL_BUFFER: usize = 2048;

/// Which side of the handshake we are (`a=setup`, RFC 8842).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `active`: sends the ClientHello, at the first [`DtlsPeer::handle_timeout`].
    Client,
    /// `passive`: waits for it.
    Server,
}

/// The exported keys (RFC 5764 section 4.2).
#[derive(Clone)]
pub struct SrtpKeys {
    /// The protection profile the handshake agreed on.
    pub profile: Profile,
    /// Client key, server key, client salt, server salt, one after the other.
    pub material: Vec<u8>,
    /// Whether we are the DTLS client, thus send with the client's key.
    pub is_client: bool,
}

impl SrtpKeys {
    /// The keys of what we send.
    ///
    /// # Errors
    /// [`KeyLengthError`] if the material has not the profile's length.
    pub fn outbound(&self) -> Result<MasterKey, KeyLengthError> {
        self.side(self.is_client)
    }

    /// The keys of what we receive.
    ///
    /// # Errors
    /// [`KeyLengthError`] if the material has not the profile's length.
    pub fn inbound(&self) -> Result<MasterKey, KeyLengthError> {
        self.side(!self.is_client)
    }

    fn side(&self, client: bool) -> Result<MasterKey, KeyLengthError> {
        let (of_client, of_server) = split_keying_material(self.profile, &self.material)?;
        Ok(if client { of_client } else { of_server })
    }
}

impl std::fmt::Debug for SrtpKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SrtpKeys({:?}, is_client: {})", self.profile, self.is_client)
    }
}

/// Why a peer ended. Each of these is final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DtlsError {
    /// Our own certificate or key cannot be used; the text says what to change.
    Identity(&'static str),
    /// The peer's certificate is not the one its SDP promised.
    FingerprintMismatch,
    /// Keys or data before a certificate, or a handshake without an SRTP profile.
    Unauthenticated,
    /// The handshake failed or timed out, or the peer broke the protocol.
    Protocol(dimpl::Error),
    /// The peer ended before; what it ended of was returned then.
    Ended,
}

impl std::fmt::Display for DtlsError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Identity(reason) => write!(formatter, "DTLS identity: {reason}"),
            Self::FingerprintMismatch => formatter.write_str("DTLS certificate does not match the SDP fingerprint"),
            Self::Unauthenticated => formatter.write_str("DTLS peer gave no certificate or no SRTP profile"),
            Self::Protocol(error) => write!(formatter, "DTLS: {error}"),
            Self::Ended => formatter.write_str("DTLS connection has ended"),
        }
    }
}

impl std::error::Error for DtlsError {}

impl From<dimpl::Error> for DtlsError {
    fn from(error: dimpl::Error) -> Self {
        Self::Protocol(error)
    }
}

/// What [`DtlsPeer::poll`] gives out.
#[derive(Debug)]
pub enum DtlsEvent<'a> {
    /// Send this datagram.
    Transmit(&'a [u8]),
    /// The handshake is complete and the certificate is the promised one.
    Connected,
    /// The SRTP keys; follows or precedes `Connected` in the same drain, never without a checked certificate.
    Keys(SrtpKeys),
    /// A message of the peer, decrypted (SCTP in WebRTC).
    ApplicationData(&'a [u8]),
    /// The peer said goodbye (`close_notify`).
    Closed,
    /// Nothing more for now: call [`DtlsPeer::handle_timeout`] then, or [`DtlsPeer::handle`] when a datagram comes.
    /// Far in the future when no timer runs.
    WakeAt(Instant),
}

/// One peer's DTLS connection. After each call of the others, `poll` until [`DtlsEvent::WakeAt`].
pub struct DtlsPeer {
    dtls: Box<Dtls>,
    expected_fingerprint: [u8; 32],
    role: Role,
    verified: bool,
    ended: bool,
}

impl DtlsPeer {
    /// A peer whose SDP promised a certificate with `expected_fingerprint` (SHA-256).
    pub fn new(role: Role, config: &DtlsConfig, expected_fingerprint: [u8; 32], now: Instant) -> Self {
        let make = match config.versions {
            Versions::Dtls12 => Dtls::new_12,
            Versions::Auto => Dtls::new_auto,
        };
        let mut dtls = Box::new(make(config.dimpl.clone(), config.certificate(), now));
        dtls.set_active(role == Role::Client);
        Self { dtls, expected_fingerprint, role, verified: false, ended: false }
    }

    /// Takes a datagram of the peer. Garbage is dropped within.
    ///
    /// # Errors
    /// Any error ends the peer.
    pub fn handle(&mut self, datagram: &[u8], now: Instant) -> Result<(), DtlsError> {
        self.attempt(|dtls| {
            dtls.handle_timeout(now)?;
            dtls.handle_packet(datagram)
        })
    }

    /// Lets time pass: retransmissions, the handshake's deadline, a client's first flight.
    ///
    /// # Errors
    /// Any error ends the peer.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsError> {
        self.attempt(|dtls| dtls.handle_timeout(now))
    }

    /// Queues a message to the peer (SCTP in WebRTC); `poll` gives the datagram.
    ///
    /// # Errors
    /// [`DtlsError::Unauthenticated`] before `Connected`; any other error ends the peer.
    pub fn send_application_data(&mut self, message: &[u8]) -> Result<(), DtlsError> {
        if !self.verified {
            return Err(DtlsError::Unauthenticated);
        }
        self.attempt(|dtls| dtls.send_application_data(message).map(drop))
    }

    /// Queues `close_notify`; a handshake still under way is given up in silence.
    ///
    /// # Errors
    /// [`DtlsError::Ended`] when the peer ended before.
    pub fn close(&mut self) -> Result<(), DtlsError> {
        self.attempt(Dtls::close)
    }

    /// The next thing to do; `buffer` holds what the event borrows and grows to the datagram's size at most.
    ///
    /// # Errors
    /// Any error ends the peer; [`DtlsError::FingerprintMismatch`] comes before any key or data.
    pub fn poll<'a>(&mut self, buffer: &'a mut Vec<u8>) -> Result<DtlsEvent<'a>, DtlsError> {
        if self.ended {
            return Err(DtlsError::Ended);
        }
        if buffer.len() < POLL_BUFFER {
            buffer.resize(POLL_BUFFER, 0);
        }
        loop {
            match self.step(buffer) {
                Ok(Step::Again) => {}
                Ok(Step::Grow(needed)) => buffer.resize(needed, 0),
                Ok(Step::Transmit(length)) => return Ok(DtlsEvent::Transmit(borrow(buffer, length))),
                Ok(Step::Data(length)) => return Ok(DtlsEvent::ApplicationData(borrow(buffer, length))),
                Ok(Step::Event(event)) => return Ok(event),
                Err(error) => {
                    self.ended = true;
                    return Err(error);
                }
            }
        }
    }

    fn step(&mut self, buffer: &mut [u8]) -> Result<Step, DtlsError> {
        Ok(match self.dtls.poll_output(buffer) {
            Output::Packet(packet) => Step::Transmit(packet.len()),
            Output::BufferTooSmall { needed } => Step::Grow(needed),
            Output::Timeout(at) => Step::Event(DtlsEvent::WakeAt(at)),
            Output::PeerCert(certificate) => {
                if fingerprint_sha256(certificate) != self.expected_fingerprint {
                    return Err(DtlsError::FingerprintMismatch);
                }
                self.verified = true;
                Step::Again
            }
            Output::CloseNotify => Step::Event(DtlsEvent::Closed),
            _ if !self.verified => return Err(DtlsError::Unauthenticated),
            Output::Connected => Step::Event(DtlsEvent::Connected),
            Output::ApplicationData(data) => Step::Data(data.len()),
            Output::KeyingMaterial(material, profile) => {
                let profile = profile_from_dimpl(profile).ok_or(DtlsError::Unauthenticated)?;
                let is_client = self.role == Role::Client;
                Step::Event(DtlsEvent::Keys(SrtpKeys { profile, material: material.to_vec(), is_client }))
            }
            _ => Step::Again,
        })
    }

    fn attempt(&mut self, call: impl FnOnce(&mut Dtls) -> Result<(), dimpl::Error>) -> Result<(), DtlsError> {
        if self.ended {
            return Err(DtlsError::Ended);
        }
        call(&mut self.dtls).map_err(|error| {
            self.ended = true;
            DtlsError::Protocol(error)
        })
    }
}

fn profile_from_dimpl(profile: dimpl::SrtpProfile) -> Option<Profile> {
    match profile {
        dimpl::SrtpProfile::AEAD_AES_128_GCM => Some(Profile::AeadAes128Gcm),
        dimpl::SrtpProfile::AEAD_AES_256_GCM => Some(Profile::AeadAes256Gcm),
        dimpl::SrtpProfile::AES128_CM_SHA1_80 => Some(Profile::Aes128CmSha1_80),
        _ => None,
    }
}

/// One output of dimpl, without its borrow. What dimpl writes stands at the start of the buffer.
enum Step {
    Again,
    Grow(usize),
    Transmit(usize),
    Data(usize),
    Event(DtlsEvent<'static>),
}

fn borrow(buffer: &[u8], length: usize) -> &[u8] {
    buffer.get(..length).unwrap_or_default()
}
