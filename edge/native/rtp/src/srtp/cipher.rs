//! The ciphers under one roof: a packet is named by its SSRC and index, the rest follows from the session keys.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::EncryptingKey;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;

use super::keys::{
    AUTHENTICATION_KEY_LEN, Labels, MasterKey, Profile, SessionKeys, apply_key_stream, counter_mode_key,
};

/// Length of the shortened HMAC-SHA1 tag, in bytes (RFC 3711 section 4.2).
const SHA1_80_TAG_LEN: usize = 10;

/// What makes a packet unique under its key.
#[derive(Clone, Copy)]
pub(super) struct PacketName {
    /// Synchronisation source.
    pub(super) ssrc: u32,
    /// The 48-bit extended sequence number of RTP, or the 31-bit index of SRTCP.
    pub(super) index: u64,
}

impl PacketName {
    /// The part that is added to the salt: AES-GCM (RFC 7714 sections 8.1 and 9.1) and, shifted by the block
    /// counter, AES-CM (RFC 3711 section 4.1.1) place SSRC and index alike.
    fn in_nonce(self) -> u128 {
        u128::from(self.ssrc) << 48 | u128::from(self.index)
    }
}

/// The cipher of one direction and one kind of packet.
pub(super) enum SessionCipher {
    /// AES-GCM, which encrypts and authenticates in one pass.
    Gcm(GcmCipher),
    /// AES-CM, then HMAC-SHA1.
    CmSha1(Box<CmSha1Cipher>),
}

impl SessionCipher {
    /// Derives the session keys and expands them.
    pub(super) fn new(profile: Profile, master: &MasterKey, labels: Labels) -> Self {
        Self::from_session_keys(profile, &SessionKeys::derive(profile, master, labels))
    }

    /// Expands session keys.
    pub(super) fn from_session_keys(profile: Profile, keys: &SessionKeys) -> Self {
        let key = &keys.encryption[..profile.key_len()];
        let salt = &keys.salt[..profile.salt_len()];
        match profile {
            Profile::Aes128CmSha1_80 => {
                let cipher = CmSha1Cipher::new(key, salt, &keys.authentication);
                Self::CmSha1(Box::new(cipher))
            }
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => Self::Gcm(GcmCipher::new(key, salt)),
        }
    }
}

/// AES-GCM with its salt.
pub(super) struct GcmCipher {
    key: LessSafeKey,
    salt: u128,
}

impl GcmCipher {
    fn new(key: &[u8], salt: &[u8]) -> Self {
        let algorithm = if key.len() == AES_256_GCM.key_len() { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, key).expect("AES-GCM takes a key of the length that its profile states");
        Self { key: LessSafeKey::new(key), salt: big_endian(salt) }
    }

    /// Encrypts `text` in place and writes its tag of 16 bytes.
    pub(super) fn seal(
        &self,
        name: PacketName,
        clear: &[u8],
        text: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), Unspecified> {
        self.key.seal_in_place_scatter(self.nonce(name), Aad::from(clear), text, &[], tag)
    }

    /// Authenticates and decrypts `text` in place; where that fails `text` is undefined.
    pub(super) fn open(&self, name: PacketName, clear: &[u8], text: &mut [u8], tag: &[u8]) -> Result<(), Unspecified> {
        self.key.open_in_place_separate_tag(self.nonce(name), Aad::from(clear), tag, text).map(|_plain| ())
    }

    fn nonce(&self, name: PacketName) -> Nonce {
        let [_, _, _, _, nonce @ ..] = (self.salt ^ name.in_nonce()).to_be_bytes();
        Nonce::assume_unique_for_key(nonce)
    }
}

/// AES-CM with its salt, and the HMAC-SHA1 key.
pub(super) struct CmSha1Cipher {
    key: EncryptingKey,
    salt: u128,
    authentication: hmac::Key,
}

impl CmSha1Cipher {
    fn new(key: &[u8], salt: &[u8], authentication: &[u8; AUTHENTICATION_KEY_LEN]) -> Self {
        Self {
            key: counter_mode_key(key),
            salt: big_endian(salt),
            authentication: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, authentication),
        }
    }

    /// Encrypts or decrypts `text` in place.
    pub(super) fn apply(&self, name: PacketName, text: &mut [u8]) {
        let start = (self.salt ^ name.in_nonce()) << 16;
        apply_key_stream(&self.key, start.to_be_bytes(), text);
    }

    /// The tag over `parts`, one after the other.
    pub(super) fn tag(&self, parts: [&[u8]; 2]) -> [u8; SHA1_80_TAG_LEN] {
        let mut context = hmac::Context::with_key(&self.authentication);
        for part in parts {
            context.update(part);
        }
        let mut shortened = [0; SHA1_80_TAG_LEN];
        shortened.copy_from_slice(&context.sign().as_ref()[..SHA1_80_TAG_LEN]);
        shortened
    }

    /// Whether `tag` is that over `parts`, in constant time.
    pub(super) fn verify(&self, parts: [&[u8]; 2], tag: &[u8]) -> Result<(), Unspecified> {
        verify_slices_are_equal(&self.tag(parts), tag)
    }
}

/// The value of up to 16 bytes, most significant first.
fn big_endian(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u128::from(byte))
}
