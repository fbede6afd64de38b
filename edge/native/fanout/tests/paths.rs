//! Where a viewer is: roaming, its paths, and several shards on one port.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use farstage_fanout::outlet::Path;
use support::world::{STREAM, address};
use support::{Offering, World};

const USUAL_BYTES: usize = 10_000;

fn elsewhere(number: u16) -> Path {
    Path::Udp(0, SocketAddr::from(([203, 0, 113, 9], 10_000 + number)))
}

fn everything() -> Offering {
    Offering { audio: Some("sendrecv"), data: true, ..Offering::default() }
}

#[test]
fn the_stream_follows_a_viewer_that_nominates_another_address() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let mut sent = world.play(STREAM, 10, USUAL_BYTES, true);
    world.viewers[viewer].move_to(elsewhere(1));
    world.settle();
    world.wire.runs.clear();
    sent.extend(world.play(STREAM, 10, USUAL_BYTES, false));
    assert_eq!(world.pictures_of(viewer, STREAM), sent, "not one packet is lost by the move");
    assert!(world.wire.runs.iter().all(|run| run.path == elsewhere(1)));
    world.viewers[viewer].pli();
    world.run(Duration::from_millis(600));
    assert_eq!(world.row(viewer).keyframe_requests, 1, "it is heard from there");
}

#[test]
fn a_viewer_that_moves_between_address_families_is_followed() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let v6 = Path::Udp(1, "[2001:db8::7]:40000".parse().expect("an address"));
    let tcp = Path::Tcp(5, "198.51.100.9:9".parse().expect("an address"));
    let mut sent = world.play(STREAM, 3, USUAL_BYTES, true);
    for path in [v6, tcp, address(1_000)] {
        world.viewers[viewer].move_to(path);
        world.settle();
        world.wire.runs.clear();
        sent.extend(world.play(STREAM, 3, USUAL_BYTES, false));
        assert!(world.wire.runs.iter().all(|run| run.path == path));
    }
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
}

#[test]
fn a_check_without_nomination_is_answered_where_it_came_from_and_moves_nothing() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let path = world.viewers[viewer].path;
    let check = world.viewers[viewer].check_request(false);
    let answers = world.poke(elsewhere(1), &check);
    assert!(answers.len() == 1 && answers[0].0 == elsewhere(1));
    world.wire.runs.clear();
    world.play(STREAM, 3, USUAL_BYTES, true);
    assert!(world.wire.runs.iter().all(|run| run.path == path));
}

#[test]
fn the_path_in_use_stays_known_however_many_others_are_checked() {
    let mut world = World::new();
    let viewer = world.join_usual();
    world.viewers[viewer].checks_every = None;
    for number in 0..30 {
        let check = world.viewers[viewer].check_request(false);
        assert_eq!(world.poke(elsewhere(number), &check).len(), 1);
    }
    world.viewers[viewer].pli();
    world.settle();
    assert_eq!(world.row(viewer).keyframe_requests, 1);
    assert_eq!(world.counters().strangers, 0);
}

#[test]
fn paths_checked_long_ago_are_forgotten() {
    let mut world = World::new();
    let viewer = world.join_usual();
    for number in 0..30 {
        let check = world.viewers[viewer].check_request(false);
        world.poke(elsewhere(number), &check);
    }
    assert!(!world.shards[0].knows(elsewhere(0)));
    assert!(world.shards[0].knows(elsewhere(29)));
    assert_eq!((0..30).filter(|number| world.shards[0].knows(elsewhere(*number))).count(), 7);
}

#[test]
fn an_address_belongs_to_the_viewer_that_proved_it_last() {
    let mut world = World::new();
    let former = world.join_usual();
    world.play(STREAM, 3, USUAL_BYTES, true);
    world.viewers[former].online = false;
    world.viewers[former].listens.clear();
    let latter = world.admit(Offering::default(), STREAM);
    let path = world.viewers[former].path;
    world.viewers[latter].path = path;
    world.viewers[latter].listens = vec![path];
    world.connect(latter);
    world.viewers[latter].pli();
    world.settle();
    assert_eq!(world.row(latter).keyframe_requests, 1);
    world.run(Duration::from_secs(25));
    assert!(world.is_gone(former) && !world.is_gone(latter));
    assert!(world.shards[0].knows(path), "the former's end does not take the latter's path");
    let sent = world.play(STREAM, 2, USUAL_BYTES, true);
    assert!(world.pictures_of(latter, STREAM).ends_with(&sent));
}

#[test]
fn a_viewer_whose_connection_closes_goes_on_by_another() {
    let mut world = World::new();
    let viewer = world.admit(Offering::default(), STREAM);
    let first = Path::Tcp(1, "198.51.100.9:9".parse().expect("an address"));
    world.viewers[viewer].path = first;
    world.viewers[viewer].listens = vec![first];
    world.connect(viewer);
    assert!(world.shards[0].knows(first));
    let mut sent = world.play(STREAM, 3, USUAL_BYTES, true);
    world.shards[0].path_closed(first);
    assert!(!world.shards[0].knows(first));
    world.viewers[viewer].move_to(Path::Tcp(2, first.address()));
    world.settle();
    sent.extend(world.play(STREAM, 3, USUAL_BYTES, false));
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
}

#[test]
fn a_viewer_lives_on_the_shard_that_its_first_check_reached() {
    let mut world = World::with_shards(3);
    let viewer = world.admit(Offering::default(), STREAM);
    world.lands_on.insert(world.viewers[viewer].path, 2);
    world.connect(viewer);
    let sent = world.play(STREAM, 10, USUAL_BYTES, true);
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
    let mut rows = Vec::new();
    world.shards[2].statistics(&mut rows);
    assert_eq!(rows.len(), 1);
    assert_eq!(world.forwarded, 0);
}

#[test]
fn packets_of_a_viewer_whose_new_address_reaches_another_shard_are_forwarded() {
    let mut world = World::with_shards(2);
    let viewer = world.join_usual();
    let mut sent = world.play(STREAM, 5, USUAL_BYTES, true);
    world.lands_on.insert(elsewhere(1), 1);
    world.viewers[viewer].move_to(elsewhere(1));
    world.settle();
    assert_eq!(world.forwarded, 1, "the check");
    sent.extend(world.play(STREAM, 5, USUAL_BYTES, false));
    let lost = world.viewers[viewer].video[0].clone();
    world.viewers[viewer].nack(&[lost.sequence]);
    world.settle();
    assert_eq!(world.forwarded, 2, "the request");
    assert_eq!(world.viewers[viewer].repeats[0].original(), (lost.sequence, lost.payload.as_slice()));
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
    assert_eq!(world.counters().strangers, 0);
}

#[test]
fn a_whole_handshake_by_way_of_another_shard_works() {
    let mut world = World::with_shards(2);
    let viewer = world.admit(everything(), STREAM);
    let check = world.viewers[viewer].check_request(true);
    assert_eq!(world.poke(elsewhere(5), &check).len(), 1, "the first shard owns it");
    world.lands_on.insert(world.viewers[viewer].path, 1);
    world.connect(viewer);
    assert!(world.forwarded > 3);
    let sent = world.play(STREAM, 3, USUAL_BYTES, true);
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
}

#[test]
fn a_check_with_a_wrong_password_is_not_forwarded() {
    let mut world = World::with_shards(2);
    let viewer = world.join_usual();
    world.lands_on.insert(elsewhere(1), 1);
    let username = format!("{}:aD2T", world.viewers[viewer].answer.ufrag);
    let forged = world.viewers[viewer].signed_request(&username, "not the password", true);
    assert_eq!(world.poke(elsewhere(1), &forged), []);
    assert_eq!((world.forwarded, world.counters().stun_refused), (0, 1));
    assert_eq!(world.poke(elsewhere(1), &[22, 254, 253, 0]), []);
    assert_eq!((world.forwarded, world.counters().strangers), (0, 1), "and opens no way for what follows");
}

#[test]
fn what_is_left_of_a_viewer_that_has_gone_is_forwarded_to_nobody_who_answers() {
    let mut world = World::with_shards(2);
    let viewer = world.join_usual();
    world.lands_on.insert(elsewhere(1), 1);
    world.viewers[viewer].move_to(elsewhere(1));
    world.settle();
    let check = world.viewers[viewer].check_request(true);
    world.viewers[viewer].close(world.now);
    world.settle();
    assert!(world.is_gone(viewer));
    let forwarded = world.forwarded;
    assert_eq!(world.poke(elsewhere(1), &check), []);
    assert_eq!(world.forwarded, forwarded, "the registry has forgotten it");
    assert_eq!(world.poke(elsewhere(1), &[0x80, 200, 0, 0]), []);
    assert_eq!((world.counters().stun_refused, world.counters().strangers), (1, 1));
}
