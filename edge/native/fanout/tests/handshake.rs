//! The DTLS handshake: who gets in, who does not, and how it ends.

mod support;

use std::time::Duration;

use farstage_fanout::events::Event;
use support::world::STREAM;
use support::{Offering, World};

const USUAL_BYTES: usize = 10_000;

#[test]
fn a_certificate_with_another_fingerprint_never_gets_media() {
    let mut world = World::new();
    let honest = world.join_usual();
    world.play(STREAM, 5, USUAL_BYTES, true);
    let stranger = world.admit(Offering { fingerprint: [7; 32], ..Offering::default() }, STREAM);
    world.run(Duration::from_secs(1));
    world.play(STREAM, 5, USUAL_BYTES, true);
    let client = &world.viewers[stranger];
    assert!(client.video.is_empty() && client.undecryptable == 0 && client.reports.is_empty());
    assert_eq!(world.counters().dtls_failed, 1);
    assert_eq!(world.count(&Event::Connected(1_001)), 0);
    assert!(world.is_gone(stranger) && !world.is_gone(honest));
    assert_eq!(world.pictures_of(honest, STREAM).len(), 10);
}

#[test]
fn a_viewer_that_waits_for_the_handshake_is_asked_to_it() {
    let mut world = World::new();
    let viewer = world.admit(Offering { setup: "passive", ..Offering::default() }, STREAM);
    assert!(world.viewers[viewer].answer.active);
    world.run(Duration::from_millis(200));
    assert!(world.viewers[viewer].connected);
    let sent = world.play(STREAM, 5, USUAL_BYTES, true);
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
}

#[test]
fn nothing_of_the_stream_is_sent_before_the_handshake_is_complete() {
    let mut world = World::new();
    let viewer = world.admit(Offering::default(), STREAM);
    let check = world.viewers[viewer].check_request(true);
    let path = world.viewers[viewer].path;
    assert_eq!(world.poke(path, &check).len(), 1);
    world.viewers[viewer].online = false;
    world.play(STREAM, 30, USUAL_BYTES, true);
    assert_eq!(world.viewers[viewer].unheard, []);
    assert_eq!(world.keyframes_asked(), 0, "and no keyframe is asked for its sake");
}

#[test]
fn a_viewer_that_says_goodbye_is_gone_at_once_and_once() {
    let mut world = World::new();
    let (leaver, other) = (world.join_usual(), world.join_usual());
    world.play(STREAM, 5, USUAL_BYTES, true);
    world.viewers[leaver].close(world.now);
    world.settle();
    assert!(world.is_gone(leaver));
    world.viewers[leaver].checks_every = None;
    let before = world.viewers[leaver].video.len();
    let sent = world.play(STREAM, 60, USUAL_BYTES, true);
    assert_eq!(world.viewers[leaver].video.len(), before);
    assert!(world.pictures_of(other, STREAM).ends_with(&sent));
    assert_eq!(world.counters().dtls_failed, 0);
}

#[test]
fn handshakes_are_repeated_where_a_datagram_is_lost() {
    for lost in 0..4 {
        let mut world = World::new();
        let viewer = world.admit(Offering::default(), STREAM);
        let path = world.viewers[viewer].path;
        world.run(Duration::ZERO);
        let check = world.viewers[viewer].check_request(true);
        world.poke(path, &check).into_iter().for_each(|sent| world.wire.sent.push_back(sent));
        let mut dtls = 0;
        while !world.viewers[viewer].connected {
            let sent: Vec<_> = world.wire.sent.drain(..).collect();
            for (_, datagram) in sent {
                if datagram[0] == 22 {
                    dtls += 1;
                }
                if datagram[0] != 22 || dtls - 1 != lost {
                    world.viewers[viewer].receive(&datagram, world.now);
                }
            }
            let now = world.now;
            world.viewers[viewer].tick(now);
            for (path, datagram) in world.viewers[viewer].take_outgoing() {
                world.deliver(path, &datagram);
            }
            if world.wire.sent.is_empty() {
                world.now += Duration::from_millis(10);
                world.tick_shards();
            }
            assert!(world.now < world.start + Duration::from_secs(10), "datagram {lost} lost");
        }
    }
}

#[test]
fn a_second_hello_of_a_connected_viewer_does_not_end_it() {
    let mut world = World::new();
    let viewer = world.admit(Offering::default(), STREAM);
    world.viewers[viewer].start_dtls(world.now);
    let hello = world.viewers[viewer].take_outgoing();
    world.viewers[viewer].tick(world.now);
    for (path, datagram) in &hello {
        world.viewers[viewer].send(datagram.clone());
        assert_eq!(*path, world.viewers[viewer].path);
    }
    world.connect(viewer);
    let path = world.viewers[viewer].path;
    for (_, datagram) in &hello {
        world.deliver(path, datagram);
    }
    world.settle();
    let sent = world.play(STREAM, 5, USUAL_BYTES, true);
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
    assert!(!world.is_gone(viewer));
}

#[test]
fn many_half_open_handshakes_hold_up_nobody_and_end() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let hanging: Vec<usize> = (0..100).map(|_| world.admit(Offering::default(), STREAM)).collect();
    for number in &hanging {
        world.viewers[*number].start_dtls(world.now);
        let hello = world.viewers[*number].take_outgoing();
        let (path, check) = (world.viewers[*number].path, world.viewers[*number].check_request(true));
        world.viewers[*number].online = false;
        world.deliver(path, &check);
        hello.iter().for_each(|(_, datagram)| world.deliver(path, datagram));
    }
    let sent = world.play(STREAM, 60, USUAL_BYTES, true);
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
    world.run(Duration::from_secs(19));
    assert!(hanging.iter().all(|number| world.is_gone(*number)));
    assert_eq!(world.rows().len(), 1);
}
