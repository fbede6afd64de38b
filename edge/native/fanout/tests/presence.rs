//! Whether a viewer is there: silence, its return, the end, and those that never come.

mod support;

use std::sync::Arc;
use std::time::Duration;

use farstage_fanout::events::{Command, Event};
use support::channel_peer::Delivery;
use support::world::{PICTURE_INTERVAL, STREAM, address};
use support::{Offering, World};

/// Nothing is sent to a viewer that has been silent for this long.
const CONSENT_LIMIT: Duration = Duration::from_secs(5);
const USUAL_BYTES: usize = 10_000;

fn everything() -> Offering {
    Offering { audio: Some("sendrecv"), data: true, ..Offering::default() }
}

/// All that can be sent to a viewer is sent to it for this long: pictures, sound, messages, reports.
fn send_everything(world: &mut World, viewer: usize, duration: Duration) {
    let session = world.viewers[viewer].session;
    let end = world.now + duration;
    let mut sound = 0;
    while world.now < end {
        world.feed(STREAM, USUAL_BYTES, false);
        sound += 1_600;
        world.command(&Command::Audio(session, sound, Arc::from(&b"opus"[..])));
        world.command(&Command::Message(Arc::from([session]), Arc::from("control"), Arc::from(&b"{}"[..])));
        world.settle();
        world.run(PICTURE_INTERVAL);
    }
}

#[test]
fn all_sending_stops_within_five_seconds_of_silence() {
    let mut world = World::new();
    let viewer = world.join(everything(), STREAM);
    world.viewers[viewer].channels.as_mut().expect("data").open(0, "control", Delivery::default());
    let now = world.now;
    world.viewers[viewer].flush_channels(now);
    world.settle();
    world.picture(STREAM, USUAL_BYTES, true);
    send_everything(&mut world, viewer, Duration::from_secs(3));
    assert_eq!(world.count(&Event::ChannelOpened(1_000, "control".to_owned())), 1);
    world.viewers[viewer].check(address(1_000), true);
    world.settle();
    let vanished = world.now;
    world.viewers[viewer].online = false;
    send_everything(&mut world, viewer, Duration::from_secs(15));
    let unheard = &world.viewers[viewer].unheard;
    assert!(unheard.iter().any(|(at, _)| *at > vanished + Duration::from_secs(1)), "a short silence changes nothing");
    let (last, datagram) = unheard.last().expect("datagrams");
    assert!(*last <= vanished + CONSENT_LIMIT, "{:?} after {:?}", &datagram[..2], *last - vanished);
}

#[test]
fn a_viewer_that_vanishes_in_its_handshake_is_sent_nothing_after_five_seconds() {
    let mut world = World::new();
    let viewer = world.admit(Offering::default(), STREAM);
    world.viewers[viewer].start_dtls(world.now);
    let hello = world.viewers[viewer].take_outgoing();
    world.run(Duration::from_millis(1));
    world.viewers[viewer].online = false;
    let vanished = world.now;
    let path = world.viewers[viewer].path;
    for (_, datagram) in hello {
        world.deliver(path, &datagram);
    }
    world.run(Duration::from_secs(19));
    let unheard = &world.viewers[viewer].unheard;
    assert!(unheard.len() > 3, "the flight is repeated");
    let (last, _) = unheard.last().expect("datagrams");
    assert!(*last <= vanished + CONSENT_LIMIT, "{:?}", *last - vanished);
}

#[test]
fn a_viewer_heard_again_goes_on_with_the_picture() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let mut sent = world.play(STREAM, 30, USUAL_BYTES, true);
    world.viewers[viewer].online = false;
    world.play(STREAM, 300, USUAL_BYTES, false);
    world.viewers[viewer].online = true;
    let asked = world.keyframes_asked();
    world.run(Duration::from_secs(3));
    assert!(!world.is_gone(viewer));
    assert_eq!(world.keyframes_asked(), asked + 1, "its place in the stream is lost: it needs a keyframe");
    sent.extend(world.play(STREAM, 30, USUAL_BYTES, true));
    assert!(world.pictures_of(viewer, STREAM).ends_with(&sent[30..]));
    assert_eq!(world.rows().len(), 1);
}

#[test]
fn a_viewer_heard_again_gets_what_it_missed_though_the_stream_rests() {
    let hear: [fn(&mut World, usize); 2] = [
        |world, viewer| world.viewers[viewer].check(address(1_000), true),
        |world, viewer| world.viewers[viewer].receiver_report(Default::default()),
    ];
    for hear in hear {
        let mut world = World::new();
        let viewer = world.join_usual();
        let mut sent = world.play(STREAM, 3, USUAL_BYTES, true);
        world.viewers[viewer].checks_every = None;
        world.run(Duration::from_secs(6));
        sent.push(world.picture(STREAM, USUAL_BYTES, true));
        assert_eq!(world.pictures_of(viewer, STREAM), sent[..3]);
        world.run(Duration::from_secs(6));
        hear(&mut world, viewer);
        world.settle();
        assert_eq!(world.pictures_of(viewer, STREAM), sent);
    }
}

#[test]
fn a_viewer_is_gone_after_twenty_seconds_of_silence_and_not_before() {
    let mut world = World::new();
    let viewer = world.join_usual();
    world.viewers[viewer].online = false;
    world.run(Duration::from_secs(19));
    assert!(!world.is_gone(viewer));
    world.run(Duration::from_millis(1_200));
    assert!(world.is_gone(viewer));
    assert_eq!(world.rows().len(), 0);
    world.run(Duration::from_secs(60));
    assert!(world.is_gone(viewer), "told once");
    assert!(world.shards[0].take_changed());
}

#[test]
fn any_authentic_packet_proves_that_a_viewer_is_there() {
    let prove: [fn(&mut World, usize, u16); 3] = [
        |world, viewer, _| world.viewers[viewer].check(address(1_000), true),
        |world, viewer, _| world.viewers[viewer].receiver_report(Default::default()),
        |world, viewer, number| world.viewers[viewer].speak(number, 960 * u32::from(number), 111, b"opus"),
    ];
    for prove in prove {
        let mut world = World::new();
        let viewer = world.join(everything(), STREAM);
        world.viewers[viewer].checks_every = None;
        let mut sent = Vec::new();
        for second in 0..30 {
            prove(&mut world, viewer, second);
            sent.extend(world.play(STREAM, 30, USUAL_BYTES, true));
        }
        assert_eq!(world.pictures_of(viewer, STREAM), sent);
    }
}

#[test]
fn forged_and_replayed_packets_do_not_keep_a_silent_viewer_alive() {
    let mut world = World::new();
    let viewer = world.join(everything(), STREAM);
    world.play(STREAM, 30, USUAL_BYTES, true);
    let path = world.viewers[viewer].path;
    world.viewers[viewer].receiver_report(Default::default());
    let (_, report) = world.viewers[viewer].take_outgoing().remove(0);
    let voice = world.viewers[viewer].voice_packet(1, 960, 111, b"opus");
    world.deliver(path, &report);
    world.deliver(path, &voice);
    world.settle();
    world.viewers[viewer].online = false;
    let vanished = world.now;
    let username = format!("{}:aD2T", world.viewers[viewer].answer.ufrag);
    for _ in 0..200 {
        let forged = world.viewers[viewer].signed_request(&username, "not the password", true);
        for datagram in [&report, &voice, &forged, &vec![22, 254, 253, 0, 1, 2, 3], &vec![0x80, 200, 0, 0]] {
            world.deliver(path, datagram);
        }
        world.feed(STREAM, USUAL_BYTES, false);
        world.run(Duration::from_millis(100));
    }
    let (last, _) = world.viewers[viewer].unheard.last().expect("datagrams");
    assert!(*last <= vanished + CONSENT_LIMIT, "{:?}", *last - vanished);
    world.run(Duration::from_secs(1));
    assert!(world.is_gone(viewer));
}

#[test]
fn messages_do_not_pile_up_for_a_silent_viewer() {
    let mut world = World::new();
    let viewer = world.join(everything(), STREAM);
    world.viewers[viewer].channels.as_mut().expect("data").open(0, "control", Delivery::default());
    let now = world.now;
    world.viewers[viewer].flush_channels(now);
    world.settle();
    world.viewers[viewer].online = false;
    let text: Arc<[u8]> = Arc::from(vec![b'x'; 60_000]);
    for _ in 0..20 {
        world.command(&Command::Message(Arc::from([1_000]), Arc::from("control"), Arc::clone(&text)));
        world.run(Duration::from_millis(100));
    }
    assert!(world.counters().messages_refused >= 15, "{}", world.counters().messages_refused);
}

#[test]
fn a_viewer_that_does_not_come_in_time_is_gone() {
    let mut world = World::with_shards(2);
    world.connect_within = Duration::from_secs(10);
    let viewer = world.admit(Offering::default(), STREAM);
    world.viewers[viewer].online = false;
    world.run(Duration::from_millis(9_900));
    assert!(!world.is_gone(viewer));
    world.run(Duration::from_millis(200));
    assert!(world.is_gone(viewer), "told once, though two shards look");
    let check = world.viewers[viewer].check_request(true);
    assert_eq!(world.poke(address(1_000), &check), []);
    assert_eq!(world.counters().stun_refused, 1);
}

#[test]
fn a_viewer_that_comes_and_does_not_shake_hands_is_gone_at_the_deadline() {
    let mut world = World::new();
    world.connect_within = Duration::from_secs(10);
    let viewer = world.admit(Offering::default(), STREAM);
    let path = address(1_000);
    world.viewers[viewer].online = false;
    for second in 0..12 {
        let check = world.viewers[viewer].check_request(true);
        let answered = world.poke(path, &check).len();
        assert_eq!(answered, usize::from(second <= 10), "second {second}");
        world.run(Duration::from_secs(1));
    }
    assert!(world.is_gone(viewer) && !world.shards[0].knows(path));
}

#[test]
fn an_admission_that_is_withdrawn_cannot_be_used_and_is_not_told() {
    let mut world = World::new();
    let (withdrawn, other) = (world.admit(Offering::default(), STREAM), world.admit(Offering::default(), STREAM));
    world.registry.withdraw(world.viewers[withdrawn].session);
    world.viewers[withdrawn].online = false;
    let check = world.viewers[withdrawn].check_request(true);
    assert_eq!(world.poke(address(1_000), &check), []);
    world.connect(other);
    world.run(Duration::from_secs(30));
    assert!(!world.is_gone(withdrawn) && !world.is_gone(other));
}

#[test]
fn a_viewer_that_has_gone_leaves_nothing_behind() {
    let mut world = World::new();
    for _ in 0..50 {
        let viewer = world.join_usual();
        world.play(STREAM, 1, USUAL_BYTES, true);
        let (now, path) = (world.now, world.viewers[viewer].path);
        world.viewers[viewer].close(now);
        world.settle();
        assert!(world.is_gone(viewer) && !world.shards[0].knows(path) && world.rows().is_empty());
        let check = world.viewers[viewer].check_request(true);
        assert_eq!(world.poke(path, &check), []);
    }
}
