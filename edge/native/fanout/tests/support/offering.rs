//! Offers as Chromium writes them, cut down to what a test needs and changed as it likes.

use std::fmt::Write as _;

use farstage_fanout::sdp::{
    CAPTURE_TIME_URI, MID_URI, PLAYOUT_DELAY_URI, REPAIRED_RID_URI, RID_URI, SEND_TIME_URI, TRANSPORT_CC_URI,
};

pub const VP8: u8 = 96;
pub const VP8_RTX: u8 = 97;
pub const H264: u8 = 102;
pub const H264_RTX: u8 = 103;
pub const OPUS: u8 = 111;
pub const SEND_TIME_ID: u8 = 2;
pub const TRANSPORT_CC_ID: u8 = 4;
pub const PLAYOUT_DELAY_ID: u8 = 5;
pub const CAPTURE_TIME_ID: u8 = 12;
pub const MID_ID: u8 = 9;
pub const RID_ID: u8 = 10;
pub const REPAIRED_RID_ID: u8 = 11;

/// What a client offers.
#[derive(Clone, Debug)]
pub struct Offering {
    pub ufrag: String,
    pub password: String,
    /// SHA-256 of the certificate that is named, not of the one that is shown.
    pub fingerprint: [u8; 32],
    pub setup: &'static str,
    /// Whether lost packets may be repeated in a stream of their own.
    pub rtx: bool,
    pub transport_cc: bool,
    pub send_time: bool,
    pub playout_delay: bool,
    pub capture_time: bool,
    /// Direction of the sound; `None` leaves it out.
    pub audio: Option<&'static str>,
    pub data: bool,
    /// Of a publisher: the names of its encodings; `None` for a viewer.
    pub publishes: Option<&'static [&'static str]>,
}

impl Default for Offering {
    fn default() -> Self {
        Self {
            ufrag: "aD2T".to_owned(),
            password: "jJo/9btVToVkp7lSCoMr+KDA".to_owned(),
            fingerprint: super::client::fingerprint(),
            setup: "actpass",
            rtx: true,
            transport_cc: true,
            send_time: false,
            playout_delay: true,
            capture_time: true,
            audio: None,
            data: false,
            publishes: None,
        }
    }
}

impl Offering {
    /// The offer.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mids = [Some("0"), self.audio.map(|_| "1"), self.data.then_some("2")];
        let mids: Vec<&str> = mids.into_iter().flatten().collect();
        line(&mut text, "v=0\r\no=- 6631985226306671367 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0");
        line(&mut text, &format!("a=group:BUNDLE {}\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS", mids.join(" ")));
        self.video(&mut text);
        if let Some(direction) = self.audio {
            self.audio(&mut text, direction);
        }
        if self.data {
            line(&mut text, "m=application 9 UDP/DTLS/SCTP webrtc-datachannel");
            self.transport(&mut text, "2");
            line(&mut text, "a=sctp-port:5000\r\na=max-message-size:262144");
        }
        text
    }

    fn video(&self, text: &mut String) {
        let numbers = if self.rtx { format!("{VP8} {VP8_RTX} {H264} {H264_RTX}") } else { format!("{VP8} {H264}") };
        line(text, &format!("m=video 9 UDP/TLS/RTP/SAVPF {numbers}"));
        self.transport(text, "0");
        let extensions = [
            (self.transport_cc, TRANSPORT_CC_ID, TRANSPORT_CC_URI),
            (self.send_time, SEND_TIME_ID, SEND_TIME_URI),
            (self.playout_delay, PLAYOUT_DELAY_ID, PLAYOUT_DELAY_URI),
            (self.capture_time, CAPTURE_TIME_ID, CAPTURE_TIME_URI),
            (self.publishes.is_some(), MID_ID, MID_URI),
            (self.publishes.is_some(), RID_ID, RID_URI),
            (self.publishes.is_some(), REPAIRED_RID_ID, REPAIRED_RID_URI),
        ];
        for (_, id, uri) in extensions.iter().filter(|(offered, ..)| *offered) {
            line(text, &format!("a=extmap:{id} {uri}"));
        }
        let direction = if self.publishes.is_some() { "sendonly" } else { "recvonly" };
        line(text, &format!("a={direction}\r\na=rtcp-mux\r\na=rtcp-rsize"));
        let rids = self.publishes.unwrap_or_default();
        rids.iter().for_each(|rid| line(text, &format!("a=rid:{rid} send")));
        if !rids.is_empty() {
            line(text, &format!("a=simulcast:send {}", rids.join(";")));
        }
        let h264 = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
        for (number, encoding, format) in [(VP8, "VP8/90000", ""), (H264, "H264/90000", h264)] {
            line(text, &format!("a=rtpmap:{number} {encoding}"));
            let mut feedback = vec!["goog-remb", "ccm fir", "nack", "nack pli"];
            feedback.extend(self.transport_cc.then_some("transport-cc"));
            feedback.iter().for_each(|kind| line(text, &format!("a=rtcp-fb:{number} {kind}")));
            if !format.is_empty() {
                line(text, &format!("a=fmtp:{number} {format}"));
            }
            if self.rtx {
                line(text, &format!("a=rtpmap:{} rtx/90000\r\na=fmtp:{0} apt={number}", number + 1));
            }
        }
    }

    fn audio(&self, text: &mut String, direction: &str) {
        line(text, &format!("m=audio 9 UDP/TLS/RTP/SAVPF {OPUS} 9 0 8"));
        self.transport(text, "1");
        line(text, &format!("a={direction}\r\na=rtcp-mux\r\na=rtpmap:{OPUS} opus/48000/2"));
        line(text, &format!("a=fmtp:{OPUS} minptime=10;useinbandfec=1\r\na=rtpmap:9 G722/8000"));
    }

    fn transport(&self, text: &mut String, mid: &str) {
        let digest: Vec<String> = self.fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
        line(text, "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0");
        line(text, &format!("a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=ice-options:trickle", self.ufrag, self.password));
        line(text, &format!("a=fingerprint:sha-256 {}\r\na=setup:{}\r\na=mid:{mid}", digest.join(":"), self.setup));
    }
}

fn line(text: &mut String, line: &str) {
    write!(text, "{line}\r\n").expect("a string takes any text");
}
