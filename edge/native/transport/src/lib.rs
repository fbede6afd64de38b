//! The ways to a peer: STUN messages, DTLS with SRTP keys, data channels; sans-IO, time passed in.

pub mod channels;
pub mod dtls;
pub mod stun;
