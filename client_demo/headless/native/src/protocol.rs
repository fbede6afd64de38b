//! What is said on standard input and output: one JSON object a line.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use farstage_transport::dtls::{DtlsConfig, DtlsSettings, Identity};
use serde::{Deserialize, Serialize};

use crate::counters::Counters;
use crate::histogram::Summary;
use crate::impairment::ImpairmentSettings;
use crate::sdp::Codecs;

/// The first line.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Certificate of all viewers, DER in hexadecimal digits.
    pub certificate: String,
    /// Its private key, in the same form.
    pub private_key: String,
    /// Our address as the server sees it, for the candidates of the offers.
    pub local_address: IpAddr,
    /// Threads; viewers are spread over them by their number.
    pub threads: usize,
    /// Connect by TCP even where UDP is offered.
    pub tcp: bool,
    /// Video codecs to offer.
    pub codecs: Codecs,
    /// Ask for sound too.
    pub audio: bool,
    /// Time between two transport-wide feedbacks of a viewer.
    pub feedback_ms: u64,
    /// Receive buffer of each socket, in octets.
    pub receive_buffer: usize,
    /// Seed of everything random but the credentials.
    pub seed: u64,
    /// The network of impaired viewers.
    pub impairment: ImpairmentSettings,
    /// Unix socket that takes the pictures of decoding viewers.
    pub pictures: Option<PathBuf>,
}

impl Configuration {
    /// The DTLS configuration of all viewers.
    ///
    /// # Errors
    /// What is wrong with certificate or key.
    pub fn dtls(&self) -> Result<DtlsConfig, String> {
        let certificate = octets(&self.certificate).ok_or("certificate: not hexadecimal")?;
        let private_key = octets(&self.private_key).ok_or("private_key: not hexadecimal")?;
        let identity = Identity { certificate, private_key };
        DtlsConfig::new(identity, &DtlsSettings::default()).map_err(|error| error.to_string())
    }
}

fn octets(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

/// The lines after the first.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Make a viewer and its offer.
    Offer {
        /// Its number, unused before.
        viewer: u64,
        /// Decrypt and put together everything it receives.
        #[serde(default)]
        verify: bool,
        /// Hand its pictures on.
        #[serde(default)]
        decode: bool,
        /// Put it behind the bad network.
        #[serde(default)]
        impaired: bool,
    },
    /// Connect it.
    Answer {
        /// Its number.
        viewer: u64,
        /// The server's answer.
        sdp: String,
        /// Since the POST began.
        posted_ms_ago: f64,
    },
    /// Hang up.
    Leave {
        /// Its number.
        viewer: u64,
    },
    /// Begin to measure: what was counted so far is forgotten, joins excepted.
    Mark,
    /// Hang up all, report, end. So does the end of the input.
    Finish,
}

/// What we say.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Output {
    /// Ready for commands.
    Ready {
        /// Files this process may open.
        file_limit: u64,
        /// Octets the kernel granted a socket's receive buffer.
        receive_buffer: usize,
        /// Whether it keeps bursts together (UDP_GRO).
        coalescing: bool,
    },
    /// An offer to post.
    Offer {
        /// Whose.
        viewer: u64,
        /// The offer.
        sdp: String,
    },
    /// A viewer's DTLS handshake is complete.
    Connected {
        /// Whose.
        viewer: u64,
        /// Since the POST began.
        join_ms: f64,
    },
    /// A viewer's connection failed or was ended by the server.
    Failed {
        /// Whose.
        viewer: u64,
        /// Why.
        reason: String,
    },
    /// Once a second.
    Statistics {
        /// Since the mark (or the start).
        seconds: f64,
        /// Viewers connected now.
        connected: u64,
        /// Viewers that have seen a whole picture.
        watching: u64,
        /// Counted since the mark.
        counters: Counters,
    },
    /// The last line.
    Report(Box<Report>),
    /// What we were told cannot be done; nothing follows.
    Error {
        /// What and why.
        reason: String,
    },
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// From the mark (or the start) to the end.
    pub seconds: f64,
    /// Viewers connected at the end.
    pub connected: u64,
    /// Viewers that saw a whole picture, since the start.
    pub watching: u64,
    /// Viewers with packets lost since the mark, impaired ones excepted.
    pub viewers_with_loss: u64,
    /// Of viewers on a good network, since the mark.
    pub clean: Counters,
    /// Of viewers behind the bad network.
    pub impaired: Counters,
    /// From the POST to the end of the DTLS handshake; since the start.
    pub join_ms: Option<Summary>,
    /// From there to the first whole picture; since the start.
    pub first_picture_ms: Option<Summary>,
    /// From abs-capture-time to the sockets of viewers on a good network that have been there for a second, since the
    /// mark; absent if the server does not send it.
    pub capture_to_arrival_ms: Option<Summary>,
    /// Between two pictures of such viewers, since the mark.
    pub picture_interval_ms: Option<Summary>,
    /// Pictures not handed on as the other side did not read.
    pub pictures_dropped: u64,
    /// The distributions above as (upper end in milliseconds, count).
    pub histograms: BTreeMap<&'static str, Vec<(f64, u64)>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_unknown_ones_refused() {
        let offer: Command = serde_json::from_str(r#"{"type":"offer","viewer":7,"verify":true}"#).unwrap();
        assert!(matches!(offer, Command::Offer { viewer: 7, verify: true, decode: false, impaired: false }));
        assert!(matches!(serde_json::from_str(r#"{"type":"mark"}"#), Ok(Command::Mark)));
        for bad in ["", "[]", r#"{"type":"other"}"#, r#"{"type":"leave"}"#, r#"{"type":"leave","viewer":1,"x":1}"#] {
            assert!(serde_json::from_str::<Command>(bad).is_err());
        }
    }

    #[test]
    fn digits_become_octets() {
        assert_eq!(octets("00fF"), Some(vec![0, 255]));
        assert_eq!(octets("0g"), None);
        assert_eq!(octets("é"), None);
    }
}
