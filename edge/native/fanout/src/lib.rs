//! One stream to many viewers, and streams from publishers: sessions, ICE, recovery, adaptation; sans-IO, time passed in.
//!
//! [`shard::Shard`] is the entry: datagrams, commands and time go in; packets leave through an [`outlet::Outlet`], events
//! are collected. [`sdp`] answers offers; [`registry::Registry`] holds who was answered until their first packet comes.

pub mod clock;
pub mod connection;
pub mod events;
pub mod feedback;
pub mod ice;
pub mod layered;
pub mod layers;
pub mod outlet;
pub mod pacing;
pub mod publisher;
pub mod reception;
pub mod registry;
pub mod retransmission;
pub mod sdp;
pub mod sender;
pub mod shard;
pub mod statistics;
pub mod stream;
pub mod viewer;
