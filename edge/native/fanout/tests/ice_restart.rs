//! ICE restarts: new credentials, the same connection. The picture goes on, and nothing of the former ones is left.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use farstage_fanout::outlet::Path;
use farstage_fanout::registry::{Claim, Restart};
use farstage_fanout::sdp::Fragment;
use proptest::prelude::*;
use support::client::Answer;
use support::world::{STREAM, address};
use support::{Offering, World};

const USUAL_BYTES: usize = 10_000;
const INTERVAL: Duration = Duration::from_secs(1);

fn elsewhere() -> Path {
    Path::Udp(0, SocketAddr::from(([203, 0, 113, 9], 10_000)))
}

/// A check by the credentials that a viewer had: sent, and whether it was answered.
fn is_answered(world: &mut World, viewer: usize, offering: &Offering, answer: &Answer) -> bool {
    let username = format!("{}:{}", answer.ufrag, offering.ufrag);
    let check = world.viewers[viewer].signed_request(&username, &answer.password, false);
    !world.poke(address(9_999), &check).is_empty()
}

#[test]
fn a_viewer_that_restarts_from_another_network_misses_nothing() {
    let mut world = World::new();
    let viewer = world.join(Offering { data: true, ..Offering::default() }, STREAM);
    let mut sent = world.play(STREAM, 10, USUAL_BYTES, true);
    assert_eq!(world.restart(viewer, "anew"), Restart::Begun);
    sent.extend(world.play(STREAM, 10, USUAL_BYTES, false));
    world.viewers[viewer].move_to(elsewhere());
    world.settle();
    world.wire.runs.clear();
    sent.extend(world.play(STREAM, 10, USUAL_BYTES, false));
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
    assert!(world.wire.runs.iter().all(|run| run.path == elsewhere()));
    assert_eq!(world.rows().len(), 1);
    assert_eq!((world.counters().stun_refused, world.counters().dtls_failed), (0, 0));
}

#[test]
fn former_credentials_hold_until_the_first_check_by_the_new_ones() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let (offering, answer) = (world.viewers[viewer].offering.clone(), world.viewers[viewer].answer.clone());
    assert_eq!(world.restart(viewer, "anew"), Restart::Begun);
    assert!(is_answered(&mut world, viewer, &offering, &answer));
    let (new_offering, new_answer) = (world.viewers[viewer].offering.clone(), world.viewers[viewer].answer.clone());
    let forged = Answer { password: answer.password.clone(), ..new_answer.clone() };
    assert!(!is_answered(&mut world, viewer, &new_offering, &forged), "not with the former password");
    assert!(!is_answered(&mut world, viewer, &offering, &new_answer), "nor with the former name");
    assert!(is_answered(&mut world, viewer, &offering, &answer), "what is not genuine ends nothing");
    assert!(is_answered(&mut world, viewer, &new_offering, &new_answer));
    assert!(!is_answered(&mut world, viewer, &offering, &answer), "the former ones have had their time");
    assert!(is_answered(&mut world, viewer, &new_offering, &new_answer));
    let claim = world.registry.claim(&answer.ufrag, 1, address(1).address(), |_| true);
    assert!(matches!(claim, Claim::Unknown), "nor on another shard");
    world.viewers[viewer].close(world.now);
    world.run(Duration::from_millis(100));
    let refused = world.counters().stun_refused;
    assert!(!is_answered(&mut world, viewer, &offering, &answer));
    assert_eq!(world.counters().stun_refused, refused + 1, "it is a stranger's");
}

#[test]
fn a_restart_that_was_never_used_is_replaced_by_the_next() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let first = (world.viewers[viewer].offering.clone(), world.viewers[viewer].answer.clone());
    world.restart(viewer, "second");
    let second = (world.viewers[viewer].offering.clone(), world.viewers[viewer].answer.clone());
    world.viewers[viewer].checks_every = None;
    world.run(INTERVAL);
    assert_eq!(world.restart(viewer, "third"), Restart::Begun);
    let third = (world.viewers[viewer].offering.clone(), world.viewers[viewer].answer.clone());
    assert!(!is_answered(&mut world, viewer, &second.0, &second.1));
    assert!(is_answered(&mut world, viewer, &first.0, &first.1), "the one in use holds");
    assert!(is_answered(&mut world, viewer, &third.0, &third.1));
    assert!(!is_answered(&mut world, viewer, &first.0, &first.1));
}

#[test]
fn a_viewer_may_restart_again_and_again_but_once_a_second() {
    let mut world = World::new();
    let viewer = world.join_usual();
    for round in 0..5 {
        assert_eq!(world.restart(viewer, &format!("round{round}")), Restart::Begun);
        assert_eq!(world.restart(viewer, &format!("again{round}")), Restart::TooSoon);
        world.viewers[viewer].check(address(1_000), true);
        world.run(INTERVAL);
    }
    assert_eq!(world.counters().stun_refused, 0);
    let sent = world.play(STREAM, 3, USUAL_BYTES, true);
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
}

#[test]
fn the_same_credentials_restart_nothing_and_a_stranger_neither() {
    let mut world = World::new();
    let viewer = world.join_usual();
    assert_eq!(world.restart(viewer, "anew"), Restart::Begun);
    world.run(INTERVAL);
    assert_eq!(world.restart(viewer, "anew"), Restart::Unchanged);
    world.viewers[viewer].close(world.now);
    world.run(Duration::from_millis(100));
    assert_eq!(world.restart(viewer, "again"), Restart::Unknown);
}

#[test]
fn one_that_has_not_come_comes_by_the_new_credentials_alone() {
    let mut world = World::new();
    let viewer = world.admit(Offering::default(), STREAM);
    let (offering, answer) = (world.viewers[viewer].offering.clone(), world.viewers[viewer].answer.clone());
    assert_eq!(world.restart(viewer, "anew"), Restart::Begun);
    assert!(!is_answered(&mut world, viewer, &offering, &answer));
    world.connect(viewer);
    let sent = world.play(STREAM, 3, USUAL_BYTES, true);
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
}

#[test]
fn one_that_restarted_and_never_came_expires_and_can_be_withdrawn() {
    let mut world = World::new();
    let (late, withdrawn) = (world.admit(Offering::default(), STREAM), world.admit(Offering::default(), STREAM));
    for viewer in [late, withdrawn] {
        world.viewers[viewer].online = false;
        assert_eq!(world.restart(viewer, &format!("viewer{viewer}")), Restart::Begun);
    }
    world.registry.withdraw(world.viewers[withdrawn].session);
    world.run(Duration::from_secs(25));
    assert!(world.is_gone(late) && !world.is_gone(withdrawn));
    for viewer in [late, withdrawn] {
        assert_eq!(world.restart(viewer, "again"), Restart::Unknown);
    }
}

#[test]
fn a_check_by_new_credentials_that_lands_on_another_shard_finds_its_viewer() {
    let mut world = World::with_shards(3);
    let viewer = world.join_usual();
    world.restart(viewer, "anew");
    world.lands_on.insert(elsewhere(), 2);
    world.viewers[viewer].move_to(elsewhere());
    world.settle();
    assert!(world.forwarded > 0);
    let sent = world.play(STREAM, 5, USUAL_BYTES, true);
    assert_eq!(world.pictures_of(viewer, STREAM), sent);
}

#[test]
fn nothing_is_left_of_a_viewer_that_leaves_in_the_middle_of_a_restart() {
    let mut world = World::new();
    let viewer = world.join_usual();
    let former = world.viewers[viewer].answer.ufrag.clone();
    world.restart(viewer, "anew");
    let new = world.viewers[viewer].answer.ufrag.clone();
    world.viewers[viewer].checks_every = None;
    world.viewers[viewer].close(world.now);
    world.run(Duration::from_millis(100));
    assert!(world.is_gone(viewer));
    for ufrag in [former, new] {
        let claim = world.registry.claim(&ufrag, 1, address(1).address(), |_| true);
        assert!(matches!(claim, Claim::Unknown), "{ufrag}");
    }
}

// --- the fragment ---

const RESTART: &str = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
                       a=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n";

#[test]
fn a_fragment_says_its_authors_credentials_and_is_answered_for_the_same_section() {
    let fragment = Fragment::parse(RESTART).expect("a good fragment");
    assert_eq!(fragment.credentials(), Ok(Some(("ysXw", "vw5LmwG4y/e6dPP/zAP9Gp5k"))));
    let (udp, tcp) = (["192.0.2.9:3478".parse().unwrap()], ["192.0.2.9:3478".parse().unwrap()]);
    let answer = fragment.answer("ours", "our password of 24 bytes", &udp, &tcp);
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!(lines[..3], ["a=ice-lite", "a=ice-ufrag:ours", "a=ice-pwd:our password of 24 bytes"]);
    assert_eq!(lines[3..5], ["m=audio 9 UDP/TLS/RTP/SAVPF 111", "a=mid:0"]);
    assert!(lines[5].starts_with("a=candidate:u0 1 udp ") && lines[6].contains(" tcptype passive"));
    assert_eq!(lines[7..], ["a=end-of-candidates"]);
}

#[test]
fn a_fragment_of_candidates_alone_names_no_credentials() {
    for text in
        ["", "a=end-of-candidates\r\n", "m=video 9 X 0\r\na=mid:v\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host"]
    {
        assert_eq!(Fragment::parse(text).expect(text).credentials(), Ok(None));
    }
}

#[test]
fn a_fragment_that_cannot_be_used_is_refused() {
    let long = format!("a=mid:{}", "x".repeat(33));
    let endless = format!("m={}", "x".repeat(5_000));
    for text in ["a=ice-ufrag:abc", "a=ice-pwd:with blank", "a=mid:", "m=a\u{7}b", &long, &endless] {
        assert!(Fragment::parse(text).is_err(), "{text:.40}");
    }
    for text in ["a=ice-ufrag:abcd", "a=ice-pwd:abcdefgh"] {
        assert!(Fragment::parse(text).expect("well formed").credentials().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_and_never_breaks_the_answer(text in "(a=|m=|ice-ufrag:|mid:|[ -~]|\r|\n|\u{7}|é){0,60}") {
        if let Ok(fragment) = Fragment::parse(&text) {
            let answer = fragment.answer("ours", "password", &[], &[]);
            prop_assert_eq!(answer.lines().count(), 6);
            prop_assert!(answer.lines().all(|line| !line.contains(|c: char| c.is_control())));
        }
    }
}
