//! The engine on real sockets: UDP and TCP, both families, several shards on one port.

#![allow(unsafe_code, reason = "poll(2) has no safe form in libc")]

mod support;

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use farstage_fanout::events::Event;
use farstage_rtp::packetize::Codec;
use farstage_sockets::engine::{Engine, EngineError};
use farstage_sockets::udp::SendMode;
use support::memory::Offering;
use support::memory::channel_peer::Delivery;
use support::memory::offering::{OPUS, PLAYOUT_DELAY_ID};
use support::{
    Line, LiveViewer, STREAM, await_event, connect, counters, engine, has, play, settings, time_of, until, vp8,
};

const USUAL_BYTES: usize = 10_000;

fn udp_viewers(engine: &Engine, count: u64) -> Vec<LiveViewer> {
    let to = engine.udp_addresses()[0];
    (0..count).map(|session| LiveViewer::new(engine, session, Offering::default(), Line::udp(to))).collect()
}

fn assert_whole(viewers: &[LiveViewer], numbers: std::ops::Range<u16>) {
    for viewer in viewers {
        assert!(has(&viewer.client, numbers.clone(), USUAL_BYTES), "viewer {}", viewer.client.session);
        let indices = viewer.indices();
        assert!(indices.windows(2).all(|pair| pair[1] == pair[0] + 1), "viewer {}", viewer.client.session);
        assert_eq!(viewer.client.undecryptable, 0);
    }
}

/// Rows of each shard, as they last showed them.
fn rows(engine: &Engine) -> Vec<usize> {
    engine.snapshots().iter().map(|snapshot| snapshot.rows.len()).collect()
}

#[test]
fn viewers_of_all_shards_get_every_picture_over_one_port() {
    for avoid_gso in [false, true] {
        let engine = Engine::start(farstage_sockets::engine::EngineSettings {
            avoid_gso,
            ..settings(&[Ipv4Addr::LOCALHOST.into()], 4)
        })
        .unwrap();
        assert_eq!(engine.shards(), 4);
        assert!(!avoid_gso || engine.send_mode() == SendMode::Sendmmsg);
        let mut viewers = udp_viewers(&engine, 16);
        connect(&mut viewers);
        play(&engine, &mut viewers, 0..20, USUAL_BYTES);
        assert_whole(&viewers, 0..20);
        let shown = |_: &mut [LiveViewer]| rows(&engine).iter().sum::<usize>() == 16;
        until(&mut viewers, "all viewers are shown", shown);
        assert!(rows(&engine).iter().filter(|count| **count > 0).count() > 1, "the kernel spreads them");
        let recorded = |_: &mut [LiveViewer]| {
            let buckets =
                engine.snapshots().iter().flat_map(|s| s.latency.buckets().collect::<Vec<_>>()).collect::<Vec<_>>();
            buckets.iter().map(|(_, count)| count).sum::<u64>() == 20 * 4
        };
        until(&mut viewers, "each shard has recorded each picture", recorded);
        assert_eq!(counters(&engine).panics, 0);
    }
}

#[test]
fn viewers_come_by_both_families() {
    let addresses: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let engine = Engine::start(settings(&addresses, 2)).unwrap();
    let udp = engine.udp_addresses().to_vec();
    assert_eq!(udp.iter().map(SocketAddr::ip).collect::<Vec<_>>(), addresses);
    assert_eq!(udp[0].port(), udp[1].port(), "one port for all");
    let mut viewers: Vec<LiveViewer> = (0..4)
        .map(|session| {
            let to = udp[session as usize % 2];
            let line = if session < 2 { Line::udp(to) } else { Line::tcp(to) };
            LiveViewer::new(&engine, session, Offering::default(), line)
        })
        .collect();
    connect(&mut viewers);
    play(&engine, &mut viewers, 0..10, USUAL_BYTES);
    assert_whole(&viewers, 0..10);
    let named = |viewer: &LiveViewer, protocol: &str| {
        let candidates = viewer.client.answer.text.lines().filter(|line| line.starts_with("a=candidate:"));
        candidates.filter(|line| line.contains(protocol)).map(str::to_owned).collect::<HashSet<_>>().len()
    };
    assert_eq!((named(&viewers[0], " udp "), named(&viewers[0], " tcp ")), (2, 2));
}

#[test]
fn viewers_behind_a_firewall_come_by_tcp_and_reach_the_right_shard() {
    let engine = engine(4);
    let to = engine.udp_addresses()[0];
    let mut viewers: Vec<LiveViewer> =
        (0..8).map(|session| LiveViewer::new(&engine, session, Offering::default(), Line::tcp(to))).collect();
    connect(&mut viewers);
    play(&engine, &mut viewers, 0..10, USUAL_BYTES);
    assert_whole(&viewers, 0..10);
}

#[test]
fn the_stream_follows_viewers_that_roam_to_any_shard_and_protocol() {
    let engine = engine(4);
    let to = engine.udp_addresses()[0];
    let mut viewers = udp_viewers(&engine, 2);
    connect(&mut viewers);
    play(&engine, &mut viewers, 0..2, USUAL_BYTES);
    // With four shards it is all but certain that some of the moves reach another than the viewer's own.
    for round in 0..10_u16 {
        for viewer in &mut viewers {
            let answered = viewer.client.check_answers.len();
            viewer.move_to(if round % 3 == 2 { Line::tcp(to) } else { Line::udp(to) });
            until(std::slice::from_mut(viewer), "the check is answered", |viewers| {
                viewers[0].client.check_answers.len() > answered
            });
            viewer.former.clear();
        }
        play(&engine, &mut viewers, 2 + 2 * round..4 + 2 * round, USUAL_BYTES);
    }
    assert_whole(&viewers, 0..22);
    let lost = viewers[0].client.video.last().unwrap().sequence;
    viewers[0].client.nack(&[lost]);
    until(&mut viewers, "the repeat comes", |viewers| viewers[0].client.repeats.len() == 1);
    assert_eq!(counters(&engine).strangers, 0);
}

#[test]
fn frames_that_come_with_the_check_that_moves_a_connection_are_not_lost() {
    let engine = engine(4);
    let to = engine.udp_addresses()[0];
    let mut viewers = udp_viewers(&engine, 1);
    connect(&mut viewers);
    viewers[0].client.checks_every = None;
    for _ in 0..8 {
        let answered = viewers[0].client.check_answers.len();
        let mut line = Line::tcp(to);
        let checks: Vec<Vec<u8>> = (0..5).map(|_| viewers[0].client.check_request(true)).collect();
        line.send(&checks);
        viewers[0].former.push(line);
        until(&mut viewers, "each check of the piece is answered", |viewers| {
            viewers[0].client.check_answers.len() >= answered + 5
        });
    }
}

#[test]
fn a_connection_that_breaks_the_framing_is_closed_and_harms_no_other() {
    let engine = engine(2);
    let to = engine.udp_addresses()[0];
    let mut viewers = udp_viewers(&engine, 1);
    viewers.push(LiveViewer::new(&engine, 1, Offering::default(), Line::tcp(to)));
    connect(&mut viewers);
    let mut offender = Line::tcp(to);
    offender.send(&[vec![0; 3_000]]);
    until(&mut viewers, "the connection is closed", |_| !offender.receive().1);
    play(&engine, &mut viewers, 0..5, USUAL_BYTES);
    assert_whole(&viewers, 0..5);
}

#[test]
fn strangers_are_counted_and_get_no_answer() {
    let engine = engine(2);
    let to = engine.udp_addresses()[0];
    let mut viewers = udp_viewers(&engine, 1);
    connect(&mut viewers);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let forged = viewers[0].client.signed_request("nobody:here", "guessed", true);
    for _ in 0..50 {
        stranger.send_to(&forged, to).unwrap();
        stranger.send_to(&[22, 254, 253, 0, 0], to).unwrap();
        stranger.send_to(&[], to).unwrap();
    }
    until(&mut viewers, "all are counted", |_| {
        let counters = counters(&engine);
        (counters.stun_refused, counters.strangers) == (50, 100)
    });
    let answer = stranger.recv_from(&mut [0; 100]).unwrap_err();
    assert_eq!(answer.kind(), ErrorKind::WouldBlock);
    play(&engine, &mut viewers, 0..3, USUAL_BYTES);
    assert_whole(&viewers, 0..3);
}

#[test]
fn sound_messages_and_events_pass_between_viewers_and_owner() {
    let engine = engine(3);
    let to = engine.udp_addresses()[0];
    let offering = Offering { audio: Some("sendrecv"), data: true, ..Offering::default() };
    let mut viewers: Vec<LiveViewer> =
        (0..3).map(|session| LiveViewer::new(&engine, session, offering.clone(), Line::udp(to))).collect();
    assert!(!is_readable(&engine), "nothing has happened");
    connect(&mut viewers);
    assert!(is_readable(&engine));
    let mut events = Vec::new();
    for session in 0..3 {
        await_event(&engine, &mut viewers, &mut events, &Event::Connected(session));
    }
    let established = |viewer: &LiveViewer| viewer.client.channels.as_ref().unwrap().established;
    until(&mut viewers, "all can open channels", |viewers| viewers.iter().all(established));
    for viewer in &mut viewers {
        viewer.client.channels.as_mut().unwrap().open(0, "control", Delivery::default());
        viewer.client.flush_channels(Instant::now());
    }
    for session in 0..3 {
        await_event(&engine, &mut viewers, &mut events, &Event::ChannelOpened(session, "control".to_owned()));
    }
    engine.send_message(&[0, 2], "control", b"hello");
    until(&mut viewers, "the message comes", |viewers| {
        [0, 2].iter().all(|at| viewers[*at].client.channels.as_ref().unwrap().texts(0) == ["hello"])
    });
    assert!(viewers[1].client.channels.as_ref().unwrap().texts(0).is_empty());
    viewers[1].client.channels.as_mut().unwrap().send_text(0, "and back");
    viewers[1].client.flush_channels(Instant::now());
    let message = Event::Message(1, "control".to_owned(), b"and back".to_vec());
    await_event(&engine, &mut viewers, &mut events, &message);
    engine.send_audio(2, 960, b"opus");
    until(&mut viewers, "the sound comes", |viewers| viewers[2].client.audio.len() == 1);
    assert!(viewers[0].client.audio.is_empty());
    viewers[0].client.speak(1, 960, OPUS, b"voice");
    await_event(&engine, &mut viewers, &mut events, &Event::Voice(0, b"voice".to_vec()));
    let asked = events.iter().filter(|event| **event == Event::KeyframeNeeded(STREAM, 0)).count();
    assert!((1..=3).contains(&asked), "one of each shard that has viewers: {asked}");
}

#[test]
fn an_owner_closes_viewers_and_hears_of_those_that_leave() {
    let engine = engine(2);
    let mut viewers = udp_viewers(&engine, 3);
    connect(&mut viewers);
    let mut events = Vec::new();
    engine.close(0, true);
    until(&mut viewers, "the viewer is told", |viewers| viewers[0].client.closed);
    viewers[1].client.close(Instant::now());
    await_event(&engine, &mut viewers, &mut events, &Event::Gone(1));
    engine.close(2, false);
    until(&mut viewers, "all are gone", |_| rows(&engine).iter().sum::<usize>() == 0);
    events.extend(engine.events());
    let gone = events.iter().filter(|event| matches!(event, Event::Gone(_))).count();
    assert_eq!((gone, viewers[2].client.closed), (1, false));
}

#[test]
fn a_session_closed_before_its_viewer_comes_cannot_be_used() {
    let engine = engine(2);
    let mut viewers = udp_viewers(&engine, 2);
    engine.close(0, true);
    until(&mut viewers, "the other connects", |viewers| viewers[1].client.connected);
    until(&mut viewers, "its check is refused", |_| counters(&engine).stun_refused > 0);
    assert!(viewers[0].client.check_answers.is_empty());
}

#[test]
fn each_viewer_gets_the_configured_playout_delay() {
    let engine = Engine::start(farstage_sockets::engine::EngineSettings {
        playout_delay_ms: (20, 300),
        ..settings(&[Ipv4Addr::LOCALHOST.into()], 1)
    })
    .unwrap();
    let mut viewers = udp_viewers(&engine, 1);
    connect(&mut viewers);
    play(&engine, &mut viewers, 0..1, USUAL_BYTES);
    let media = &viewers[0].client.video[0];
    assert_eq!(media.extension(PLAYOUT_DELAY_ID), Some(&[0x00, 0x20, 0x1E][..]));
}

#[test]
fn answers_name_the_announced_addresses() {
    let engine = Engine::start(farstage_sockets::engine::EngineSettings {
        announce: vec!["203.0.113.5".parse().unwrap()],
        ..settings(&[Ipv4Addr::LOCALHOST.into()], 1)
    })
    .unwrap();
    let port = engine.udp_addresses()[0].port();
    assert_eq!(engine.udp_addresses(), [SocketAddr::from(([203, 0, 113, 5], port))]);
    let answer = engine.answer(1, STREAM, &Offering::default().text(), &vp8(), 1).unwrap();
    assert!(answer.contains(&format!(" 203.0.113.5 {port} typ host\r\n")) && !answer.contains("127.0.0.1 "));
}

#[test]
fn every_answer_has_credentials_and_ssrcs_of_its_own() {
    let engine = engine(1);
    let answers: Vec<String> = (0..200)
        .map(|session| engine.answer(session, STREAM, &Offering::default().text(), &vp8(), 1).unwrap())
        .collect();
    let value = |answer: &str, name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    for name in ["a=ice-ufrag:", "a=ice-pwd:", "a=ssrc-group:FID "] {
        let distinct: HashSet<String> = answers.iter().map(|answer| value(answer, name)).collect();
        assert_eq!(distinct.len(), answers.len(), "{name}");
    }
    assert!(answers.iter().all(|answer| value(answer, "a=ice-pwd:").len() >= 22), "RFC 8839: at least 22 characters");
    for answer in &answers {
        let group = value(answer, "a=ssrc-group:FID ");
        let (video, rtx) = group.split_once(' ').unwrap();
        assert_ne!(video, rtx);
    }
}

#[test]
fn refused_offers_and_pictures_say_why() {
    let engine = engine(1);
    let refused = engine.answer(1, STREAM, "nonsense", &vp8(), 1).unwrap_err();
    assert_eq!(refused.to_string(), "the body is not an SDP offer: it does not begin with v=0");
    let refused = engine.send(STREAM, Codec::Vp8, &vec![0; (8 << 20) + 1], true, 0, 0, 0).unwrap_err();
    assert_eq!(refused.to_string(), "a picture of 8388609 bytes; the limit is 8388608");
    assert!(matches!(engine.send(STREAM, Codec::Vp8, &[], true, 0, 0, 0), Err(EngineError::Frame(_))));
    assert!(matches!(engine.send(STREAM, Codec::H264, b"no start code", true, 0, 0, 0), Err(EngineError::Frame(_))));
}

#[test]
fn an_engine_does_not_take_a_port_that_is_in_use_and_gives_its_own_back() {
    let first = engine(3);
    let port = first.udp_addresses()[0].port();
    let again = || {
        Engine::start(farstage_sockets::engine::EngineSettings { port, ..settings(&[Ipv4Addr::LOCALHOST.into()], 3) })
    };
    let Err(EngineError::Io(error)) = again() else { panic!("two engines on one port") };
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let mut viewers = udp_viewers(&first, 1);
    viewers.push(LiveViewer::new(&first, 9, Offering::default(), Line::tcp(first.udp_addresses()[0])));
    connect(&mut viewers);
    first.stop();
    drop(first);
    let second = again().expect("the port is free again");
    let mut viewers = udp_viewers(&second, 2);
    connect(&mut viewers);
    play(&second, &mut viewers, 0..2, USUAL_BYTES);
    assert_whole(&viewers, 0..2);
}

#[test]
fn an_engine_without_a_usable_identity_or_address_does_not_start() {
    let mut no_key = settings(&[Ipv4Addr::LOCALHOST.into()], 1);
    no_key.identity.private_key.clear();
    assert!(matches!(Engine::start(no_key), Err(EngineError::Identity(_))));
    assert!(matches!(Engine::start(settings(&[], 1)), Err(EngineError::Io(_))));
    let foreign = settings(&["192.0.2.77".parse().unwrap()], 1);
    assert!(matches!(Engine::start(foreign), Err(EngineError::Io(_))));
}

#[test]
fn a_tcp_viewer_that_does_not_read_holds_up_no_other() {
    let engine = engine(1);
    let to = engine.udp_addresses()[0];
    let mut stalled = vec![LiveViewer::new(&engine, 0, Offering::default(), Line::tcp(to))];
    let mut others = vec![LiveViewer::new(&engine, 1, Offering::default(), Line::tcp(to))];
    others.extend((2..4).map(|session| LiveViewer::new(&engine, session, Offering::default(), Line::udp(to))));
    connect(&mut stalled);
    connect(&mut others);
    // Much more than the kernel's buffers and ours take.
    for number in 0..150_u16 {
        let picture = support::memory::world::noise(u64::from(number), 60_000);
        engine.send(STREAM, Codec::Vp8, &picture, number % 30 == 0, time_of(number), number, 0).unwrap();
        until(&mut others, "the others have the picture", |others| {
            let newest = |viewer: &LiveViewer| viewer.client.video.last().map(|media| (media.timestamp, media.marker));
            others.iter().all(|viewer| newest(viewer) == Some((time_of(number), true)))
        });
        others.iter_mut().for_each(|viewer| viewer.client.video.clear());
    }
    until(&mut stalled, "the stalled one catches up", |stalled| {
        let video = &stalled[0].client.video;
        video.last().is_some_and(|media| media.timestamp == time_of(149) && media.marker)
    });
    assert!(has(&stalled[0].client, 149..150, 60_000));
}

/// Whether events are announced on the descriptor for them.
fn is_readable(engine: &Engine) -> bool {
    let mut poll = libc::pollfd { fd: engine.events_fd(), events: libc::POLLIN, revents: 0 };
    let timeout_ms = Duration::ZERO.as_millis() as i32;
    // The structure lives until the call returns.
    unsafe { libc::poll(&raw mut poll, 1, timeout_ms) == 1 }
}
