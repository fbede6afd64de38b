//! What all peers of a process share: certificate, key and handshake settings.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use dimpl::DtlsCertificate;
use dimpl::crypto::{Dtls12CipherSuite, NamedGroup, aws_lc_rs as provider};

use super::DtlsError;

/// Largest DER certificate or key taken, in octets; a P-256 identity has about 300 and 140.
const MAX_DER: usize = 8192;

/// A self-signed certificate and its private key, both DER. The key is ECDSA P-256 or P-384, in PKCS#8 or SEC 1 form.
#[derive(Clone)]
pub struct Identity {
    /// X.509 certificate.
    pub certificate: Vec<u8>,
    /// Private key of that certificate.
    pub private_key: Vec<u8>,
}

/// The DTLS versions that are negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// 1.2 only. The default: every browser speaks it, the SRTP profile is then AES-GCM with each client that offers
    /// it (the library's 1.3 server takes whatever the client names first), and stray datagrams cannot end a client's
    /// handshake (the client that knows both versions ends at the first answer it cannot read).
    #[default]
    Dtls12,
    /// 1.3 where the other side has it, else 1.2.
    Auto,
}

/// How handshakes are made.
#[derive(Clone, Copy, Debug)]
pub struct DtlsSettings {
    /// Versions to negotiate.
    pub versions: Versions,
    /// Whether a server asks for a cookie (RFC 6347 section 4.2.1). One round trip that ICE makes needless: its
    /// checks have shown that the client receives at its address.
    pub cookie: bool,
    /// First retransmission interval of a flight; doubles with each retransmission.
    pub flight_timeout: Duration,
    /// A handshake that takes longer fails; bounds what half-open handshakes hold.
    pub handshake_timeout: Duration,
    /// Largest datagram sent, in octets of UDP payload.
    pub mtu: usize,
}

impl Default for DtlsSettings {
    fn default() -> Self {
        Self {
            versions: Versions::Dtls12,
            cookie: false,
            flight_timeout: Duration::from_millis(400),
            handshake_timeout: Duration::from_secs(20),
            mtu: 1200,
        }
    }
}

/// Identity and settings of all peers of a process; cheap to share.
#[derive(Clone)]
pub struct DtlsConfig {
    pub(super) dimpl: Arc<dimpl::Config>,
    pub(super) identity: Arc<Identity>,
    pub(super) versions: Versions,
}

impl DtlsConfig {
    /// Validates identity and settings, so that no peer made from them can fail for their sake.
    ///
    /// # Errors
    /// [`DtlsError::Identity`] for a certificate or key that cannot be used, [`DtlsError::Protocol`] for settings that
    /// cannot.
    pub fn new(identity: Identity, settings: &DtlsSettings) -> Result<Self, DtlsError> {
        let crypto = provider::default_provider();
        let sizes = [identity.certificate.len(), identity.private_key.len()];
        if sizes.iter().any(|size| !(1..=MAX_DER).contains(size)) {
            return Err(DtlsError::Identity("certificate and key must have 1 to 8192 octets"));
        }
        crypto
            .key_provider
            .load_private_key(&identity.private_key)
            .map_err(|_| DtlsError::Identity("the private key is no P-256 or P-384 key in DER"))?;
        let mut builder = dimpl::Config::builder()
            .with_crypto_provider(crypto)
            .mtu(settings.mtu)
            .use_server_cookie(settings.cookie)
            .flight_start_rto(settings.flight_timeout)
            .handshake_timeout(settings.handshake_timeout)
            .dtls12_cipher_suites(&[
                Dtls12CipherSuite::ECDHE_ECDSA_AES128_GCM_SHA256,
                Dtls12CipherSuite::ECDHE_ECDSA_AES256_GCM_SHA384,
                Dtls12CipherSuite::ECDHE_ECDSA_CHACHA20_POLY1305_SHA256,
            ])
            .kx_groups(&[NamedGroup::X25519, NamedGroup::Secp256r1, NamedGroup::Secp384r1]);
        if settings.versions == Versions::Dtls12 {
            builder = builder.dtls13_cipher_suites(&[]);
        }
        Ok(Self { dimpl: Arc::new(builder.build()?), identity: Arc::new(identity), versions: settings.versions })
    }

    /// The fingerprint of our certificate, for `a=fingerprint:sha-256`.
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint_sha256(&self.identity.certificate)
    }

    pub(super) fn certificate(&self) -> DtlsCertificate {
        DtlsCertificate {
            certificate: self.identity.certificate.clone(),
            private_key: self.identity.private_key.clone(),
        }
    }
}

/// SHA-256 of a DER certificate (RFC 8122 section 5).
pub fn fingerprint_sha256(certificate: &[u8]) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    let digest = digest::digest(&digest::SHA256, certificate);
    fingerprint.iter_mut().zip(digest.as_ref()).for_each(|(octet, value)| *octet = *value);
    fingerprint
}
