//! Protection profiles, master keys, and the session keys made from them (RFC 3711 section 4.3).

use aws_lc_rs::cipher::{AES_128, AES_256, AES_CTR_IV_LEN, EncryptingKey, EncryptionContext, UnboundCipherKey};

/// Longest master key of any profile, in bytes.
const MAX_KEY_LEN: usize = 32;

/// Longest master salt of any profile, in bytes.
const MAX_SALT_LEN: usize = 14;

/// Length of an HMAC-SHA1 session key, in bytes.
pub(super) const AUTHENTICATION_KEY_LEN: usize = 20;

/// What protects the packets: the DTLS-SRTP profiles that we offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `SRTP_AEAD_AES_128_GCM` (RFC 7714 section 14.2).
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM` (RFC 7714 section 14.2).
    AeadAes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80` (RFC 5764 section 4.1.2), which every WebRTC peer must know.
    Aes128CmSha1_80,
}

impl Profile {
    /// Length of the master key, in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::Aes128CmSha1_80 => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Length of the master salt, in bytes.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            Self::Aes128CmSha1_80 => 14,
        }
    }

    /// Length of the keying material for both directions to export from DTLS (RFC 5764 section 4.2), in bytes.
    pub const fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    /// What protection adds to an RTP packet, in bytes.
    pub const fn rtp_tag_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
            Self::Aes128CmSha1_80 => 10,
        }
    }

    /// What protection adds to an RTCP packet, in bytes: the tag and the index word.
    pub const fn rtcp_overhead_len(self) -> usize {
        self.rtp_tag_len() + super::RTCP_INDEX_LEN
    }
}

/// A key or salt, or the keying material of both, has not the length that its profile needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLengthError;

impl std::fmt::Display for KeyLengthError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the SRTP keying material has not the length that its profile needs")
    }
}

impl std::error::Error for KeyLengthError {}

/// The master key and salt of one direction. Fields shorter than their buffers are filled with zeros, which is
/// also how RFC 7714 section 11 widens the salt for the key derivation.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    key: [u8; MAX_KEY_LEN],
    salt: [u8; MAX_SALT_LEN],
}

impl MasterKey {
    /// Takes a key and a salt of exactly the profile's lengths.
    ///
    /// # Errors
    /// [`KeyLengthError`] for any other length.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, KeyLengthError> {
        if key.len() != profile.key_len() || salt.len() != profile.salt_len() {
            return Err(KeyLengthError);
        }
        let mut master = Self { key: [0; MAX_KEY_LEN], salt: [0; MAX_SALT_LEN] };
        master.key[..key.len()].copy_from_slice(key);
        master.salt[..salt.len()].copy_from_slice(salt);
        Ok(master)
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MasterKey(secret)")
    }
}

/// Cuts exported keying material into the keys of the DTLS client and of the DTLS server, in this order
/// (RFC 5764 section 4.2).
///
/// # Errors
/// [`KeyLengthError`] unless `material` has [`Profile::keying_material_len`] bytes.
pub fn split_keying_material(profile: Profile, material: &[u8]) -> Result<(MasterKey, MasterKey), KeyLengthError> {
    if material.len() != profile.keying_material_len() {
        return Err(KeyLengthError);
    }
    let (keys, salts) = material.split_at(2 * profile.key_len());
    let (client_key, server_key) = keys.split_at(profile.key_len());
    let (client_salt, server_salt) = salts.split_at(profile.salt_len());
    let client = MasterKey::new(profile, client_key, client_salt)?;
    let server = MasterKey::new(profile, server_key, server_salt)?;
    Ok((client, server))
}

/// The labels of the derivation for one kind of packet (RFC 3711 sections 4.3.1 and 4.3.2).
#[derive(Clone, Copy)]
pub(super) struct Labels {
    encryption: u8,
    authentication: u8,
    salting: u8,
}

/// Labels of the keys for RTP.
pub(super) const RTP_LABELS: Labels = Labels { encryption: 0, authentication: 1, salting: 2 };

/// Labels of the keys for RTCP.
pub(super) const RTCP_LABELS: Labels = Labels { encryption: 3, authentication: 4, salting: 5 };

/// What one master key yields for one kind of packet.
pub(super) struct SessionKeys {
    /// Encryption key; the profile's key length counts.
    pub(super) encryption: [u8; MAX_KEY_LEN],
    /// HMAC-SHA1 key; unused with GCM.
    pub(super) authentication: [u8; AUTHENTICATION_KEY_LEN],
    /// Salt; the profile's salt length counts.
    pub(super) salt: [u8; MAX_SALT_LEN],
}

impl SessionKeys {
    /// Derives the keys of one kind of packet with a key derivation rate of zero.
    pub(super) fn derive(profile: Profile, master: &MasterKey, labels: Labels) -> Self {
        let prf = Prf::new(profile, master);
        let mut keys =
            Self { encryption: [0; MAX_KEY_LEN], authentication: [0; AUTHENTICATION_KEY_LEN], salt: [0; MAX_SALT_LEN] };
        prf.fill(labels.encryption, &mut keys.encryption[..profile.key_len()]);
        prf.fill(labels.authentication, &mut keys.authentication);
        prf.fill(labels.salting, &mut keys.salt[..profile.salt_len()]);
        keys
    }
}

/// The AES-CM pseudo-random function keyed with a master key (RFC 3711 section 4.3.3).
struct Prf {
    key: EncryptingKey,
    salt: [u8; MAX_SALT_LEN],
}

impl Prf {
    fn new(profile: Profile, master: &MasterKey) -> Self {
        Self { key: counter_mode_key(&master.key[..profile.key_len()]), salt: master.salt }
    }

    /// Fills `out` with the key stream whose start is the salt with `label` added at its eighth byte.
    fn fill(&self, label: u8, out: &mut [u8]) {
        let mut start = [0; AES_CTR_IV_LEN];
        start[..MAX_SALT_LEN].copy_from_slice(&self.salt);
        start[7] ^= label;
        out.fill(0);
        apply_key_stream(&self.key, start, out);
    }
}

/// An AES key for counter mode; `key` has 16 or 32 bytes.
pub(super) fn counter_mode_key(key: &[u8]) -> EncryptingKey {
    let algorithm = if key.len() == MAX_KEY_LEN { &AES_256 } else { &AES_128 };
    UnboundCipherKey::new(algorithm, key)
        .and_then(EncryptingKey::ctr)
        .expect("AES takes a key of the length that its profile states")
}

/// Adds the AES-CM key stream that begins at the counter block `start` to `text`.
pub(super) fn apply_key_stream(key: &EncryptingKey, start: [u8; AES_CTR_IV_LEN], text: &mut [u8]) {
    let context = EncryptionContext::Iv128(start.into());
    key.less_safe_encrypt(text, context).expect("counter mode takes any length with a 128-bit start");
}
