//! Fragments of SDP with which a viewer names candidates or restarts ICE (RFC 8840, section 9; RFC 9725, section 4.3).

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::answer::candidate_lines;
use super::offer::{MAX_LINE_BYTES, check_mid, keep_credential};
use super::{SdpError, refuse};

/// What a fragment says of its author's ICE. Candidates are not read: we are lite and check none.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Fragment {
    ufrag: Option<String>,
    password: Option<String>,
    /// The first media line and its `mid`, without which an answer could not be placed.
    media: Option<String>,
    mid: Option<String>,
}

impl Fragment {
    /// Read and check a fragment. Errors say what is wrong.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        let mut fragment = Self::default();
        for line in text.lines() {
            fragment.take(line.trim_end())?;
        }
        Ok(fragment)
    }

    fn take(&mut self, line: &str) -> Result<(), SdpError> {
        if line.len() > MAX_LINE_BYTES || line.contains(|c: char| c.is_control()) {
            return refuse(format!("a line has a control character or more than {MAX_LINE_BYTES} bytes"));
        }
        if let Some(media) = line.strip_prefix("m=") {
            self.media.get_or_insert_with(|| media.to_owned());
        } else if let Some(ufrag) = line.strip_prefix("a=ice-ufrag:") {
            keep_credential(&mut self.ufrag, ufrag)?;
        } else if let Some(password) = line.strip_prefix("a=ice-pwd:") {
            keep_credential(&mut self.password, password)?;
        } else if let Some(mid) = line.strip_prefix("a=mid:") {
            check_mid(mid)?;
            self.mid.get_or_insert_with(|| mid.to_owned());
        }
        Ok(())
    }

    /// Its author's user name fragment and password; `None` for a fragment that names neither.
    pub fn credentials(&self) -> Result<Option<(&str, &str)>, SdpError> {
        match (&self.ufrag, &self.password) {
            (Some(ufrag), Some(password)) => Ok(Some((ufrag, password))),
            (None, None) => Ok(None),
            _ => refuse("a fragment must have both a=ice-ufrag and a=ice-pwd or neither (RFC 8839, section 5.4)"),
        }
    }

    /// The fragment that answers a restart: our new credentials, and where we are.
    pub fn answer(&self, ufrag: &str, password: &str, udp: &[SocketAddr], tcp: &[SocketAddr]) -> String {
        let media = self.media.as_deref().unwrap_or("video 9 UDP/TLS/RTP/SAVPF 0");
        let mid = self.mid.as_deref().unwrap_or("0");
        let mut text = String::with_capacity(512);
        let _ = write!(text, "a=ice-lite\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\n");
        let _ = write!(text, "m={media}\r\na=mid:{mid}\r\n");
        candidate_lines(udp, tcp, |line| {
            let _ = write!(text, "{line}\r\n");
        });
        text
    }
}
