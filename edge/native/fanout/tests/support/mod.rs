//! An edge and its viewers in one memory and in virtual time.
//!
//! [`world::World`] owns shards, viewers and the clock: it carries datagrams between them and fires what is due.
//! [`client::Client`] is a viewer as a browser is one: it answers for ICE, DTLS, SRTP and RTCP with code that the shard
//! does not share, but for the wire formats. [`wire::Wire`] is the outlet that all shards send by, and that can be full
//! or break. [`offering::Offering`] writes the offers. [`simulcast::Simulcast`] is a source of several layers.
//! [`publishing::Camera`] is what a publisher's client sends.

#![allow(dead_code, unused_imports, reason = "each test file uses a part")]

#[path = "../../../transport/tests/support/mod.rs"]
pub mod channel_peer;
pub mod client;
pub mod offering;
pub mod publishing;
pub mod simulcast;
pub mod wire;
pub mod world;

pub use client::{Client, Media};
pub use offering::Offering;
pub use publishing::Camera;
pub use world::World;
