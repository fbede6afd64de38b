//! What str0m's own send path costs a packet, against the bare cipher over the same packets in the same run.
//!
//! Fifty `Rtc`s in RTP mode are connected to as many receivers (ICE and DTLS in memory, no socket), then write video
//! frames as an SFU does: one shared payload a packet, `write_rtp`, everything `poll_output` has to say. Only the
//! senders' CPU time counts. No pacer and no bandwidth estimate are on: with them it costs more. Two peers of str0m
//! settle on AES-256-GCM, so the ratio is to that cipher; AES-128-GCM, which browsers take too, is timed beside it.

mod bare;
mod peer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use peer::{Peer, connect};

const SENDERS: usize = 50;
const PACKETS: usize = 9;
const PAYLOAD_BYTES: usize = 1160;
const WARM_UP: usize = 30;
const ROUNDS: usize = 5;
const FRAMES: usize = 150;
const FRAME_INTERVAL: Duration = Duration::from_micros(33_333);

fn main() {
    let before = resident_bytes();
    let start = Instant::now();
    let mut pairs: Vec<_> = (0..SENDERS).map(|_| connect(start)).collect();
    let connected = resident_bytes();
    let rtc_bytes = (connected - before) / (2 * SENDERS);
    let payloads: Vec<Arc<[u8]>> = (0..PACKETS).map(|n| vec![n as u8; PAYLOAD_BYTES].into()).collect();
    let mut now = pairs.iter().map(|(sender, _)| sender.now()).max().expect("there are senders");
    for _ in 0..WARM_UP {
        now += FRAME_INTERVAL;
        send_frame(&mut pairs, &payloads, now);
    }
    let (mut str0m, mut bare_128, mut bare_256) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut spent = Duration::ZERO;
        for _ in 0..FRAMES {
            now += FRAME_INTERVAL;
            spent += send_frame(&mut pairs, &payloads, now);
        }
        str0m.push(spent);
        bare_128.push(bare::seal(&aws_lc_rs::aead::AES_128_GCM, SENDERS, FRAMES, &payloads));
        bare_256.push(bare::seal(&aws_lc_rs::aead::AES_256_GCM, SENDERS, FRAMES, &payloads));
    }
    let [path, bare, bare_128] = [str0m, bare_256, bare_128].map(microseconds_per_packet);
    let ratio = path / bare;
    let rtc_sending_bytes = rtc_bytes + (resident_bytes() - connected) / SENDERS;
    println!(
        "{{\"str0m_us_per_packet\": {path:.3}, \"bare_us_per_packet\": {bare:.3}, \"ratio\": {ratio:.2}, \
         \"bare_aes_128_us_per_packet\": {bare_128:.3}, \"rtc_bytes\": {rtc_bytes}, \
         \"rtc_sending_bytes\": {rtc_sending_bytes}}}"
    );
}

/// Send one frame from every sender and return the CPU time it took; the receivers' answers are not counted.
fn send_frame(pairs: &mut [(Peer, Peer)], payloads: &[Arc<[u8]>], now: Instant) -> Duration {
    let start = cpu_time();
    let mut sent = 0;
    for (sender, _) in pairs.iter_mut() {
        sent += sender.send_frame(payloads, now);
    }
    let spent = cpu_time() - start;
    assert_eq!(sent, pairs.len() * payloads.len(), "every packet leaves at once");
    for (sender, receiver) in pairs {
        peer::exchange(sender, receiver, now);
    }
    spent
}

/// The median of the rounds.
fn microseconds_per_packet(mut rounds: Vec<Duration>) -> f64 {
    rounds.sort();
    rounds[rounds.len() / 2].as_secs_f64() * 1e6 / (SENDERS * FRAMES * PACKETS) as f64
}

/// CPU time of this process, which has one thread.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every POSIX system and `time` is valid for the call.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0, "the process clock can be read");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Memory of this process that is resident, from `/proc/self/statm`.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has /proc");
    let pages: usize = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("statm has two fields");
    pages * 4096
}
