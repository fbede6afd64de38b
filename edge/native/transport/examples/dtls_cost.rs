//! What a DTLS peer costs: CPU for each handshake and heap octets each peer keeps after it.
//! `cargo run --release -p farstage-transport --example dtls_cost [PEERS]`
#![allow(unsafe_code, reason = "a counting allocator is a GlobalAlloc")]

#[path = "../tests/support/counting.rs"]
mod counting;

use std::sync::atomic::Ordering;
use std::time::Instant;

use counting::LIVE;
use farstage_transport::dtls::{DtlsConfig, DtlsEvent, DtlsPeer, DtlsSettings, Identity, Role, Versions};

fn main() {
    let peers = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1000);
    for versions in [Versions::Dtls12, Versions::Auto] {
        measure(versions, peers);
    }
}

fn identity() -> Identity {
    Identity {
        certificate: include_bytes!("../testdata/first_certificate.der").to_vec(),
        private_key: include_bytes!("../testdata/first_key.der").to_vec(),
    }
}

fn measure(versions: Versions, count: usize) {
    let settings = DtlsSettings { versions, ..DtlsSettings::default() };
    let config = DtlsConfig::new(identity(), &settings).expect("the test identity is good");
    let (live, resident, now) = (LIVE.load(Ordering::Relaxed), resident_kib(), Instant::now());
    let mut spent = [0.0; 2];
    let servers: Vec<DtlsPeer> = (0..count).map(|_| handshake(&config, &mut spent)).collect();
    let seconds = now.elapsed().as_secs_f64();
    let octets = (LIVE.load(Ordering::Relaxed) - live) / count;
    let kib = (resident_kib() - resident) as f64 / count as f64;
    println!(
        "{versions:?}: client {:.0} us, server {:.0} us a handshake (both {:.0} us); a server peer keeps {octets} octets \
         of Rust heap, {kib:.1} KiB resident",
        spent[0] / count as f64 * 1e6,
        spent[1] / count as f64 * 1e6,
        seconds / count as f64 * 1e6,
    );
    drop(servers);
}

fn handshake(config: &DtlsConfig, spent: &mut [f64; 2]) -> DtlsPeer {
    let now = Instant::now();
    let mut ends = Vec::new();
    for (role, spent) in [Role::Client, Role::Server].into_iter().zip(spent.iter_mut()) {
        let start = Instant::now();
        let mut peer = DtlsPeer::new(role, config, config.fingerprint(), now);
        peer.handle_timeout(now).expect("a fresh peer");
        *spent += start.elapsed().as_secs_f64();
        ends.push(peer);
    }
    let mut datagrams = Vec::new();
    let mut connected = 0;
    while connected < 2 {
        for side in 0..2 {
            let start = Instant::now();
            for datagram in std::mem::take(&mut datagrams) {
                let datagram: Vec<u8> = datagram;
                ends[side].handle(&datagram, now).expect("a good datagram");
            }
            connected += drain(&mut ends[side], &mut datagrams);
            spent[side] += start.elapsed().as_secs_f64();
        }
    }
    ends.remove(1)
}

fn drain(peer: &mut DtlsPeer, datagrams: &mut Vec<Vec<u8>>) -> usize {
    let mut connected = 0;
    let mut buffer = Vec::new();
    loop {
        match peer.poll(&mut buffer).expect("a good handshake") {
            DtlsEvent::Transmit(datagram) => datagrams.push(datagram.to_vec()),
            DtlsEvent::Connected => connected += 1,
            DtlsEvent::WakeAt(_) => return connected,
            _ => {}
        }
    }
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).unwrap_or(0)
}
