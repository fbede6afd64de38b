//! The ICE credentials of a connection, both sides' (RFC 8445, section 5.3), and their exchange in a restart.

use farstage_transport::stun::{IntegrityKey, Message};

/// By what a viewer's checks are known. A restart replaces all four.
#[derive(Clone)]
pub struct IceCredentials {
    /// Our user name fragment.
    pub local_ufrag: String,
    /// Our password.
    pub local_key: IntegrityKey,
    /// The viewer's user name fragment.
    pub remote_ufrag: String,
    /// The viewer's password. Nothing is checked with it, as we are lite; other ones ask for a restart.
    pub remote_password: String,
}

impl IceCredentials {
    /// Whether a check names both sides and was made with our password.
    pub fn prove(&self, check: &Message<'_>) -> bool {
        let names = (self.local_ufrag.as_bytes(), self.remote_ufrag.as_bytes());
        check.username_fragments() == Some(names) && check.verify(&self.local_key)
    }
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "IceCredentials({}:{})", self.local_ufrag, self.remote_ufrag)
    }
}
