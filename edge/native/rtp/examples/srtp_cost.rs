//! Prints what protecting a full RTP packet costs, per profile: `cargo run --release --example srtp_cost`.

use std::hint::black_box;
use std::time::Instant;

use farstage_rtp::srtp::{MasterKey, Profile, SrtpSender};

const PACKET_LEN: usize = 1160;
const HEADER_LEN: usize = 20;
const ROUNDS: u32 = 9;
const PACKETS_PER_ROUND: u32 = 200_000;

fn main() {
    for profile in [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmSha1_80] {
        let mut costs: Vec<f64> = (0..ROUNDS).map(|_| nanoseconds_per_packet(profile)).collect();
        costs.sort_by(f64::total_cmp);
        let (least, median) = (costs[0], costs[costs.len() / 2]);
        println!("{profile:?}: {median:.0} ns per packet of {PACKET_LEN} bytes (least {least:.0})");
    }
}

fn nanoseconds_per_packet(profile: Profile) -> f64 {
    let (key, salt) = (vec![1; profile.key_len()], vec![2; profile.salt_len()]);
    let master = MasterKey::new(profile, &key, &salt).expect("the lengths are the profile's");
    let sender = SrtpSender::new(profile, &master);
    let mut packet = vec![0x90; PACKET_LEN + profile.rtp_tag_len()];
    let start = Instant::now();
    for count in 0..PACKETS_PER_ROUND {
        packet[2..4].copy_from_slice(&(count as u16).to_be_bytes());
        let result = sender.protect_rtp(count >> 16, black_box(&mut packet), HEADER_LEN);
        result.expect("the packet has room");
    }
    start.elapsed().as_nanos() as f64 / f64::from(PACKETS_PER_ROUND)
}
