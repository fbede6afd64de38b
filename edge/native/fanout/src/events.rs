//! What shards tell, and what they are told.

use std::sync::Arc;

use crate::ice::IceCredentials;
use crate::publisher::Picture;
use crate::stream::PacketizedFrame;

/// Told by a shard. Sessions and streams are numbers of the caller's choice.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The client's DTLS handshake is complete.
    Connected(u64),
    /// The viewer opened a data channel of this label.
    ChannelOpened(u64, String),
    /// A message on a data channel.
    Message(u64, String, Vec<u8>),
    /// A frame of the viewer's microphone, or of the publisher's sound.
    Voice(u64, Vec<u8>),
    /// A picture of a publisher.
    Picture(u64, Picture),
    /// A viewer of this stream waits for a keyframe of this layer.
    KeyframeNeeded(u64, u8),
    /// The first packet of this stream's picture (RTP time) was handed to the socket.
    PictureLeft(u64, u32),
    /// The client is gone and forgotten.
    Gone(u64),
}

/// Told to every shard.
#[derive(Debug, Clone)]
pub enum Command {
    /// A picture of a stream.
    Frame(u64, Arc<PacketizedFrame>),
    /// What each layer of a stream takes, bits a second, lowest first; none: it has one that nothing is known of.
    Layers(u64, Arc<[u64]>),
    /// An Opus frame for one viewer, with its RTP time.
    Audio(u64, u32, Arc<[u8]>),
    /// A text message for these viewers on the channel of this label.
    Message(Arc<[u64]>, Arc<str>, Arc<[u8]>),
    /// A session's client restarts ICE: its checks come by these credentials from now on.
    Restart(u64, Arc<IceCredentials>),
    /// A publisher is to send a keyframe of this layer.
    RequestKeyframe(u64, usize),
    /// End a client without an event. With a farewell its client knows at once; without, a client that is about to
    /// replace its connection keeps the last picture.
    Close {
        /// Number of its session.
        session: u64,
        /// Whether to say goodbye.
        farewell: bool,
    },
}

/// What went wrong or was refused, since the start of a shard.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams of addresses that proved no session.
    pub strangers: u64,
    /// STUN messages that were malformed or not made with a session's password.
    pub stun_refused: u64,
    /// DTLS handshakes that failed, wrong certificates among them.
    pub dtls_failed: u64,
    /// RTP and RTCP packets that were malformed, forged or replayed.
    pub srtp_refused: u64,
    /// RTCP packets with malformed content.
    pub rtcp_malformed: u64,
    /// Data-channel messages and channels refused for a limit.
    pub messages_refused: u64,
    /// Packets of publishers under SSRCs that belong to nothing agreed on.
    pub sources_refused: u64,
    /// Pictures of publishers of which a part was missing for too long, or malformed.
    pub pictures_lost: u64,
    /// Pictures of layers that their streams were not described with.
    pub layers_refused: u64,
    /// Clients ended because handling them failed.
    pub panics: u64,
}

impl Counters {
    /// The names and values, for metrics.
    pub fn named(&self) -> [(&'static str, u64); 10] {
        [
            ("strangers", self.strangers),
            ("stun_refused", self.stun_refused),
            ("dtls_failed", self.dtls_failed),
            ("srtp_refused", self.srtp_refused),
            ("rtcp_malformed", self.rtcp_malformed),
            ("messages_refused", self.messages_refused),
            ("sources_refused", self.sources_refused),
            ("pictures_lost", self.pictures_lost),
            ("layers_refused", self.layers_refused),
            ("panics", self.panics),
        ]
    }
}
