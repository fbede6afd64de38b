//! WebRTC viewers by the thousand, to load and measure a WHEP server.
//!
//! One thread of [`worker`] holds many viewers, one socket each. A [`viewer`] is sans-IO: datagrams and time in,
//! datagrams and events out. Most read only what SRTP leaves in clear, which shows continuity, frames and delay; a
//! chosen share decrypts and reassembles everything. [`run`] talks to the Python side in lines of JSON: it owns
//! HTTP, so that any WHEP server can be loaded.

pub mod arrivals;
pub mod assembly;
pub mod clock;
pub mod counters;
pub mod depacketize;
pub mod feedback;
pub mod histogram;
pub mod ice;
pub mod impairment;
pub mod link;
pub mod media;
pub mod news;
pub mod outbox;
pub mod outlet;
pub mod pictures;
pub mod protocol;
pub mod random;
pub mod run;
pub mod sdp;
pub mod sequence;
pub mod slot;
pub mod sockets;
pub mod stream;
pub mod viewer;
pub mod worker;
