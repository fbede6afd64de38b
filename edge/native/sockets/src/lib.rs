//! Sockets and threads of the engine: batched UDP with segmentation offload, TCP framing, shards.
//!
//! The one crate with system calls. [`engine::Engine`] owns the threads; each runs one [`farstage_fanout::shard::Shard`]
//! with sockets of its own on the shared port.

#![allow(unsafe_code)]

pub mod ceiling;
pub mod engine;
pub mod histogram;
mod inbox;
mod poller;
mod tcp;
mod thread;
pub mod udp;
