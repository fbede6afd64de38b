//! Data channels of a viewer: what it opens and says is told, what goes beyond a limit is refused and counted.

mod support;

use std::sync::Arc;
use std::time::Duration;

use farstage_fanout::events::{Command, Event};
use farstage_transport::channels::{MAX_BUFFERED_BYTES, MAX_CHANNELS, MAX_MESSAGE_BYTES};
use sctp_proto::PayloadProtocolIdentifier;
use support::channel_peer::Delivery;
use support::world::STREAM;
use support::{Offering, World};

const UNRELIABLE: Delivery = Delivery { unordered: true, repeats: Some(0) };

fn with_data() -> Offering {
    Offering { data: true, ..Offering::default() }
}

/// Two viewers with a channel for control and one for input each.
fn two_viewers() -> (World, usize, usize) {
    let mut world = World::new();
    let viewers = [world.join(with_data(), STREAM), world.join(with_data(), STREAM)];
    for viewer in viewers {
        open(&mut world, viewer, 0, "control", Delivery::default());
        open(&mut world, viewer, 2, "input", UNRELIABLE);
    }
    world.events.clear();
    (world, viewers[0], viewers[1])
}

fn open(world: &mut World, viewer: usize, id: u16, label: &str, delivery: Delivery) {
    world.viewers[viewer].channels.as_mut().expect("data").open(id, label, delivery);
    flush(world, viewer);
}

fn flush(world: &mut World, viewer: usize) {
    let now = world.now;
    world.viewers[viewer].flush_channels(now);
    world.settle();
}

fn say(world: &mut World, viewer: usize, id: u16, text: &str) {
    world.viewers[viewer].channels.as_mut().expect("data").send_text(id, text);
    flush(world, viewer);
}

fn tell(world: &mut World, sessions: &[u64], label: &str, text: &str) {
    world.command(&Command::Message(Arc::from(sessions), Arc::from(label), Arc::from(text.as_bytes())));
    world.settle();
}

fn texts(world: &World, viewer: usize, id: u16) -> Vec<String> {
    world.viewers[viewer].channels.as_ref().expect("data").texts(id)
}

fn message(session: u64, label: &str, text: &str) -> Event {
    Event::Message(session, label.to_owned(), text.as_bytes().to_vec())
}

#[test]
fn channels_and_messages_are_told_with_who_and_where() {
    let mut world = World::new();
    let viewer = world.join(with_data(), STREAM);
    open(&mut world, viewer, 0, "control", Delivery::default());
    open(&mut world, viewer, 2, "input", UNRELIABLE);
    assert_eq!(world.count(&Event::ChannelOpened(1_000, "control".to_owned())), 1);
    assert_eq!(world.count(&Event::ChannelOpened(1_000, "input".to_owned())), 1);
    say(&mut world, viewer, 0, "hello");
    say(&mut world, viewer, 2, "left");
    assert_eq!(world.count(&message(1_000, "control", "hello")), 1);
    assert_eq!(world.count(&message(1_000, "input", "left")), 1);
}

#[test]
fn a_message_goes_to_the_named_viewers_alone() {
    let (mut world, one, other) = two_viewers();
    tell(&mut world, &[1_000, 1_001], "control", "to both");
    tell(&mut world, &[1_001], "control", "to the other");
    tell(&mut world, &[7], "control", "to nobody");
    assert_eq!(texts(&world, one, 0), ["to both"]);
    assert_eq!(texts(&world, other, 0), ["to both", "to the other"]);
}

#[test]
fn messages_and_pictures_pass_each_other() {
    let (mut world, one, _) = two_viewers();
    let mut sent = Vec::new();
    for at in 0..60 {
        sent.extend(world.play(STREAM, 1, 10_000, at == 0));
        say(&mut world, one, 2, &format!("move {at}"));
        tell(&mut world, &[1_000], "control", &format!("state {at}"));
    }
    world.run(Duration::from_secs(1));
    assert_eq!(world.pictures_of(one, STREAM), sent);
    assert_eq!(texts(&world, one, 0).len(), 60);
    assert!((0..60).all(|at| world.count(&message(1_000, "input", &format!("move {at}"))) == 1));
}

#[test]
fn an_overtaken_message_of_an_ordered_channel_waits_and_one_of_an_unordered_does_not() {
    for (id, label, delivered) in [(0, "control", false), (2, "input", true)] {
        let (mut world, viewer, _) = two_viewers();
        world.viewers[viewer].channels.as_mut().expect("data").send_text(id, "first");
        let now = world.now;
        world.viewers[viewer].flush_channels(now);
        let late = world.viewers[viewer].take_outgoing();
        say(&mut world, viewer, id, "second");
        assert_eq!(world.count(&message(1_000, label, "second")) == 1, delivered, "{label}");
        late.iter().for_each(|(path, datagram)| world.deliver(*path, datagram));
        world.settle();
        assert_eq!(world.count(&message(1_000, label, "first")), 1, "{label}");
        assert_eq!(world.count(&message(1_000, label, "second")), 1, "{label}");
    }
}

#[test]
fn the_largest_message_that_the_answer_announces_is_taken() {
    let (mut world, viewer, _) = two_viewers();
    assert!(world.viewers[viewer].answer.text.contains(&format!("a=max-message-size:{MAX_MESSAGE_BYTES}\r\n")));
    let largest = "x".repeat(MAX_MESSAGE_BYTES as usize);
    say(&mut world, viewer, 0, &largest);
    world.run(Duration::from_secs(1));
    assert_eq!(world.count(&message(1_000, "control", &largest)), 1);
}

#[test]
fn an_oversized_message_is_refused_and_counted_and_harms_no_other_viewer() {
    let (mut world, offender, other) = two_viewers();
    let mut sent = world.play(STREAM, 3, 10_000, true);
    say(&mut world, offender, 0, &"x".repeat(MAX_MESSAGE_BYTES as usize + 1));
    world.run(Duration::from_secs(1));
    assert_eq!(world.counters().messages_refused, 1);
    assert!(!world.events.iter().any(|event| matches!(event, Event::Message(..))));
    sent.extend(world.play(STREAM, 3, 10_000, false));
    say(&mut world, other, 0, "undisturbed");
    assert_eq!(world.count(&message(1_001, "control", "undisturbed")), 1);
    assert_eq!(world.pictures_of(other, STREAM), sent);
}

#[test]
fn too_many_channels_are_refused_and_counted_and_the_others_go_on() {
    let (mut world, viewer, other) = two_viewers();
    for at in 2..MAX_CHANNELS as u16 + 3 {
        open(&mut world, viewer, 2 * at, &format!("channel {at}"), Delivery::default());
    }
    assert_eq!(world.counters().messages_refused, 3);
    let opened = world.events.iter().filter(|event| matches!(event, Event::ChannelOpened(..))).count();
    assert_eq!(opened, MAX_CHANNELS - 2);
    say(&mut world, viewer, 0, "still here");
    say(&mut world, other, 0, "as well");
    assert_eq!(world.count(&message(1_000, "control", "still here")), 1);
    assert_eq!(world.count(&message(1_001, "control", "as well")), 1);
    assert!(!world.is_gone(viewer));
}

#[test]
fn a_viewer_that_opens_channels_without_end_is_gone() {
    let (mut world, offender, other) = two_viewers();
    for id in 10..2_000_u16 {
        if world.is_gone(offender) {
            break;
        }
        let channels = world.viewers[offender].channels.as_mut().expect("data");
        channels.send(id, PayloadProtocolIdentifier::Binary, b"x");
        flush(&mut world, offender);
    }
    assert!(world.is_gone(offender) && !world.is_gone(other));
    assert!(world.counters().messages_refused > 0);
}

#[test]
fn messages_to_a_viewer_that_does_not_take_them_are_refused_and_counted() {
    let (mut world, deaf, other) = two_viewers();
    world.run(Duration::from_secs(1));
    let path = world.viewers[deaf].path;
    world.viewers[deaf].listens.clear();
    let text = "x".repeat(32 * 1024);
    let most = MAX_BUFFERED_BYTES / text.len();
    for _ in 0..most + 5 {
        tell(&mut world, &[1_000, 1_001], "control", &text);
        world.run(Duration::from_millis(20));
    }
    let refused = world.counters().messages_refused as usize;
    assert!((5..=6).contains(&refused), "{refused}");
    assert_eq!(texts(&world, other, 0).len(), most + 5);
    world.viewers[deaf].listens.push(path);
    world.run(Duration::from_secs(10));
    assert_eq!(texts(&world, deaf, 0).len(), most + 5 - refused, "what was taken comes in the end");
}

#[test]
fn a_message_for_a_viewer_without_that_channel_is_lost_and_harms_nobody() {
    let (mut world, one, _) = two_viewers();
    let plain = world.join(Offering::default(), STREAM);
    tell(&mut world, &[1_000, 1_001, 1_002], "chat", "no such channel");
    tell(&mut world, &[1_000, 1_001, 1_002], "control", "here");
    assert_eq!(texts(&world, one, 0), ["here"]);
    assert!(!world.is_gone(plain) && world.viewers[plain].channels.is_none());
}

#[test]
fn sctp_of_a_viewer_that_agreed_to_no_data_is_dropped() {
    let mut world = World::new();
    let viewer = world.admit(Offering::default(), STREAM);
    world.viewers[viewer].channels = Some(support::channel_peer::ChannelPeer::new());
    world.connect(viewer);
    flush(&mut world, viewer);
    world.run(Duration::from_secs(2));
    assert!(!world.viewers[viewer].channels.as_ref().expect("data").established);
    assert!(!world.is_gone(viewer));
}

#[test]
fn messages_survive_lost_datagrams() {
    let (mut world, viewer, _) = two_viewers();
    for at in 0..40 {
        tell_some(&mut world, at);
        world.viewers[viewer].channels.as_mut().expect("data").send_text(0, &format!("up {at}"));
        let now = world.now;
        world.viewers[viewer].flush_channels(now);
        if at % 3 == 0 {
            world.wire.sent.clear();
            world.viewers[viewer].take_outgoing();
        }
        world.run(Duration::from_millis(100));
    }
    world.run(Duration::from_secs(20));
    let expected: Vec<String> = (0..40).map(|at| format!("down {at}")).collect();
    assert_eq!(texts(&world, viewer, 0), expected);
    assert!((0..40).all(|at| world.count(&message(1_000, "control", &format!("up {at}"))) == 1));
}

/// A message that stays on the wire.
fn tell_some(world: &mut World, at: usize) {
    let text = format!("down {at}");
    world.command(&Command::Message(Arc::from([1_000]), Arc::from("control"), Arc::from(text.as_bytes())));
}
