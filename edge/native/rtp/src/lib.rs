//! The media wire formats: RTP, RTCP, packetisers and SRTP; pure, no I/O, no clock.
//!
//! Everything here reads bytes that a stranger may have written, so every reader returns an error instead of
//! panicking, and keeps no state that grows with what it is sent.
//!
//! * [`header`]: RTP headers and their extensions; telling STUN, DTLS, RTP and RTCP apart.
//! * [`packetize`] and [`depacketize`]: encoded frames cut into RTP payloads, and put together again.
//! * [`rtcp`]: reports and feedback, read and written.
//! * [`srtp`]: encryption and authentication of RTP and RTCP.

mod bytes;
pub mod depacketize;
pub mod header;
mod obu;
pub mod packetize;
pub mod rtcp;
pub mod srtp;
