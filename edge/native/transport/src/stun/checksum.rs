//! The two checks of a STUN message: HMAC-SHA1 (RFC 8489 section 14.5) and CRC-32 (section 14.7).

use aws_lc_rs::{constant_time, hmac};

/// Octets of an HMAC-SHA1.
pub(crate) const INTEGRITY_LENGTH: usize = 20;
/// Octets of an attribute's type and length.
const ATTRIBUTE_HEADER: usize = 4;
/// What FINGERPRINT's CRC-32 is combined with, to tell STUN from other protocols with a CRC.
const FINGERPRINT_MASK: u32 = 0x5354_554e;

/// A short-term credential's password, prepared for HMAC-SHA1 (RFC 8489 section 9.1.1: the key is the password).
#[derive(Clone)]
pub struct IntegrityKey(hmac::Key);

impl IntegrityKey {
    /// Prepares `password`; an ICE password is used as it stands in `a=ice-pwd`.
    pub fn new(password: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password))
    }

    /// The HMAC over `message`, which ends where the MESSAGE-INTEGRITY attribute begins. The length field is taken
    /// as if that attribute were the last one.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; INTEGRITY_LENGTH] {
        let mut context = hmac::Context::with_key(&self.0);
        let (start, rest) = message.split_at_checked(4).unwrap_or((message, &[]));
        let length = rest.len().saturating_sub(16) + ATTRIBUTE_HEADER + INTEGRITY_LENGTH;
        context.update(start.get(..2).unwrap_or_default());
        context.update(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        context.update(rest);
        let mut code = [0; INTEGRITY_LENGTH];
        let tag = context.sign();
        if tag.as_ref().len() == INTEGRITY_LENGTH {
            code.copy_from_slice(tag.as_ref());
        }
        code
    }

    /// Whether `code` is the HMAC over `message`; takes the same time for each wrong code.
    pub(crate) fn verify(&self, message: &[u8], code: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.sign(message), code).is_ok()
    }
}

/// The FINGERPRINT value of `message`, whose length field already counts the attribute.
pub(crate) fn fingerprint(message: &[u8]) -> u32 {
    crc32(message) ^ FINGERPRINT_MASK
}

/// The CRC-32 of ISO 3309 (reflected polynomial 0xedb88320), one octet a step.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| (crc >> 8) ^ CRC_TABLE[usize::from(crc as u8 ^ byte)])
}

static CRC_TABLE: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = (value >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(value & 1));
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn crc_gives_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
