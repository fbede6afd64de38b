//! A thread that fails where nothing should goes on.

use std::net::{Ipv4Addr, UdpSocket};

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

fn engine() -> Engine {
    let identity = Identity {
        certificate: include_bytes!("../../../transport/testdata/first_certificate.der").to_vec(),
        private_key: include_bytes!("../../../transport/testdata/first_key.der").to_vec(),
    };
    let settings = EngineSettings {
        bind: vec![Ipv4Addr::LOCALHOST.into()],
        announce: Vec::new(),
        port: 0,
        shards: 1,
        identity,
        playout_delay_ms: (0, 100),
        avoid_gso: false,
    };
    Engine::start(settings).expect("the engine starts")
}

fn until(engine: &Engine, what: &str, reached: impl Fn(&Snapshot) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached(&engine.snapshots()[0]) {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_fault_of_a_thread_is_counted_and_the_thread_goes_on() {
    let engine = engine();
    for faults in 1..=3 {
        engine.inboxes[0].push(Item::Fault);
        until(&engine, "the fault is counted", |snapshot| snapshot.counters.panics == faults);
    }
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    stranger.send_to(&[0x80; 40], engine.udp_addresses()[0]).unwrap();
    until(&engine, "datagrams are still read", |snapshot| snapshot.counters.strangers == 1);
}

#[test]
fn what_came_together_with_a_fault_is_still_done() {
    let engine = engine();
    for _ in 0..200 {
        engine.inboxes[0].push(Item::Fault);
    }
    engine.stop();
    assert_eq!(engine.snapshots()[0].counters.panics, 200);
}
