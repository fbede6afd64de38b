//! Seeded randomness for impairments and timers, and unpredictable text for ICE credentials.

use aws_lc_rs::rand;

const ICE_CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A small generator (SplitMix64): the same seed gives the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator for one of many users of a seed.
    pub fn new(seed: u64, user: u64) -> Self {
        let mut random = Self { state: seed ^ user.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        random.bits();
        random
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in 0 (with) to 1 (without).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normally distributed with mean 0 and deviation 1, by the sum of twelve uniform numbers.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// `length` unpredictable characters of an ICE fragment or password (RFC 8839 section 5.4).
pub fn ice_text(length: usize) -> String {
    let mut octets = vec![0; length];
    if rand::fill(&mut octets).is_err() {
        octets.fill(0);
    }
    octets.iter().map(|octet| char::from(ICE_CHARACTERS[usize::from(octet % 64)])).collect()
}

/// Unpredictable octets, for transactions and identifiers.
pub fn octets<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    if rand::fill(&mut octets).is_err() {
        octets.fill(1);
    }
    octets
}
