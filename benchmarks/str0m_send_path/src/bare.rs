//! The least a viewer's packet can cost: copy header and payload, seal in place.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};

use crate::cpu_time;

const HEADER_BYTES: usize = 12;

/// Seal `frames` frames for `viewers` viewers, each with a key of its own, and return the CPU time it took.
pub fn seal(algorithm: &'static Algorithm, viewers: usize, frames: usize, payloads: &[Arc<[u8]>]) -> Duration {
    let keys: Vec<_> = (0..viewers)
        .map(|viewer| UnboundKey::new(algorithm, &vec![viewer as u8; algorithm.key_len()]).expect("the length fits"))
        .map(LessSafeKey::new)
        .collect();
    let header = [0x80u8; HEADER_BYTES];
    let mut packet = [0u8; 2048];
    let start = cpu_time();
    let mut sequence = 0u16;
    for _ in 0..frames {
        for key in &keys {
            for (number, payload) in payloads.iter().enumerate() {
                let sequence = sequence.wrapping_add(number as u16);
                let end = HEADER_BYTES + payload.len();
                packet[..HEADER_BYTES].copy_from_slice(&header);
                packet[2..4].copy_from_slice(&sequence.to_be_bytes());
                packet[HEADER_BYTES..end].copy_from_slice(payload);
                seal_packet(key, &mut packet[..end], sequence);
            }
        }
        sequence = sequence.wrapping_add(payloads.len() as u16);
    }
    std::hint::black_box(&packet);
    cpu_time() - start
}

fn seal_packet(key: &LessSafeKey, packet: &mut [u8], sequence: u16) {
    let mut nonce = [7u8; 12];
    nonce[10..].copy_from_slice(&sequence.to_be_bytes());
    let (header, body) = packet.split_at_mut(HEADER_BYTES);
    let sealed = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&header), body);
    let _ = std::hint::black_box(sealed.expect("the packet is short enough"));
}
