//! Prints what one viewer costs: `cargo run --release --example estimator_cost`.

use std::hint::black_box;
use std::time::Instant;

use farstage_congestion::{BandwidthEstimator, Limits};
use farstage_rtp::rtcp::{Rtcp, read_compound, write_transport_feedback};

const FRAMES: u64 = 300_000;
const PACKETS: u16 = 12;
const FRAME_US: u64 = 33_333;

fn main() {
    let limits = Limits { min_bps: 100_000, start_bps: 1_000_000, max_bps: 20_000_000 };
    let mut estimator = BandwidthEstimator::new(limits, 0);
    let (mut sending_ns, mut feedback_ns) = (0, 0);
    let mut datagram = Vec::new();
    for frame in 0..FRAMES {
        let now_us = frame * FRAME_US;
        let first = (frame * u64::from(PACKETS)) as u16;
        let start = Instant::now();
        black_box(&mut estimator).sent(first, PACKETS, 1_200, now_us);
        sending_ns += start.elapsed().as_nanos();
        let arrivals: Vec<Option<i64>> =
            (0..PACKETS).map(|packet| Some((now_us + u64::from(packet) * 500) as i64)).collect();
        datagram.clear();
        write_transport_feedback(&mut datagram, 1, 2, first, 0, &arrivals);
        let start = Instant::now();
        for packet in read_compound(black_box(&datagram)).flatten() {
            if let Rtcp::TransportFeedback(feedback) = packet {
                estimator.feedback(&feedback, now_us + 20_000);
            }
        }
        feedback_ns += start.elapsed().as_nanos();
    }
    println!("a run sent: {} ns", sending_ns / u128::from(FRAMES));
    println!("a feedback on {PACKETS} packets, with reading it: {} ns", feedback_ns / u128::from(FRAMES));
}
