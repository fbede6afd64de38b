//! How much one viewer's network takes: transport-wide feedback in, a bitrate out; pure, time passed in.
//!
//! [`BandwidthEstimator`] is Google congestion control on the sender's side (draft-ietf-rmcat-gcc-02 and the practice
//! that came after it), for a server that sends each frame as one burst to thousands of viewers:
//!
//! * The history is a ring of 256 runs, a run being the packets of one frame, not of packets. A number is looked up
//!   once at most, so repeated or invented reports count for nothing.
//! * The delay detector fits a line through the delays of packet groups, against a threshold that adapts to
//!   jitter. Groups are dated by their first packet: its delay is the standing queue, without the burst's own
//!   length, so no pacer is needed to tell the two apart.
//! * When the queue grows, the rate falls below what arrives, and further where the queue is long already; then it
//!   grows by 50 % a second up to just below the known capacity, by 3 % of it near it, by 8 % where none is known.
//!   It stays below one and a half times what arrives.
//! * More than 10 % lost lowers the rate, but not below 70 % of what arrives. Losses well above this path's usual
//!   ones hold it.
//! * Probes find capacity that the media does not use: at the start, and every five seconds without congestion.
//! * Receiver reports steer the rate of viewers without transport-wide feedback, by losses and round-trip time; a
//!   receiver's own estimate (REMB) caps it for 15 seconds.
//!
//! # What a viewer can do by lying
//!
//! Without answered probes the estimate cannot exceed 1.5 times what seems to arrive, which cannot exceed 1.5 times
//! the highest rate truly sent lately. A probe is believed up to its own rate, which is at most three times the
//! estimate and was truly sent. So a liar gets more of the server's traffic, up to `max_bps`, and nothing else:
//! limits on what one viewer may receive belong to the caller.
//!
//! # What was measured
//!
//! In virtual time (`tests/link.rs`): frames of 30 Hz that vary by 20 %, feedback each 50 ms, 50 ms round trip, a
//! queue of at most 1 s before a link of fixed rate, start at 0.6 Mbit/s, four seeds; the range over the seeds.
//! "Estimate" is its mean as a share of the link's rate, "queue" what 95 % of packets did not exceed.
//!
//! | path | estimate, first 5 s | afterwards | queue, afterwards |
//! |---|---|---|---|
//! | 0.5 Mbit/s | 89 to 90 % | 94 to 95 % | 39 to 88 ms |
//! | 1 Mbit/s | 93 to 95 % | 93 to 94 % | 44 to 66 ms |
//! | 2.5 Mbit/s | 90 to 92 % | 93 % | 39 to 49 ms |
//! | 5 Mbit/s | 87 to 89 % | 92 to 93 % | 38 to 42 ms |
//! | 10 Mbit/s | 86 to 88 % | 92 to 93 % | 39 to 46 ms |
//! | 30 Mbit/s | 83 to 86 % | 93 to 94 % | 38 to 47 ms |
//! | 5 Mbit/s, 3 % random loss | 85 to 89 % | 91 % | 34 to 39 ms |
//! | 5 Mbit/s, 20 ms jitter | 61 to 88 % | 91 to 94 % | 44 to 69 ms |
//! | 5 Mbit/s, each 60th frame five times as large | 84 to 86 % | 84 to 86 % | 119 to 121 ms |
//! | falls from 5 to 1 Mbit/s | 90 to 96 % | 90 to 93 % | 46 to 64 ms |
//! | rises from 1 to 5 Mbit/s | 69 to 73 % (10 s) | 92 to 93 % | 43 to 49 ms |
//! | 8 Mbit/s, application sends 0.5 Mbit/s | | 95 % | 8 to 10 ms |
//! | 2 Mbit/s, queue of only 20 ms | | 72 to 73 % | 18 ms |
//!
//! A frame of 33 ms waits for itself, so a median queue of about 17 ms is the burst's own length. When the link falls
//! to a fifth, its queue fills within 0.3 s, before any feedback can tell; the rate is down after 0.5 s and the queue
//! drained after 2.6 s.
//!
//! # What is not modelled
//!
//! Competing flows, paths whose losses exceed 10 % at any rate (the rate then falls to 70 % of what arrives again and
//! again), and token buckets, which make probes look better than the link is.

mod aimd;
mod estimator;
mod history;
mod loss;
mod probe;
mod rate;
mod round_trip;
mod trend;

pub use estimator::{BandwidthEstimator, Limits};
pub use probe::Probe;
