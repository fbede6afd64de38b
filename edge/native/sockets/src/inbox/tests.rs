use std::sync::Arc;
use std::time::Duration;

use farstage_fanout::events::{Command, Event};
use farstage_fanout::publisher::Picture;

use super::*;
use crate::poller::Poller;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a waker is readable at once.
fn is_awake(waker: &Waker) -> bool {
    is_awake_within(waker, Duration::ZERO)
}

fn is_awake_within(waker: &Waker, patience: Duration) -> bool {
    let mut poller = Poller::new().unwrap();
    poller.watch(waker.fd(), 7, false).unwrap();
    let mut ready = Vec::new();
    // One wait lasts a second at most.
    for _ in 0..=patience.as_secs() {
        poller.wait(patience, &mut ready).unwrap();
        if !ready.is_empty() {
            return ready == [7];
        }
    }
    false
}

fn close(session: u64) -> Item {
    Item::Command(Command::Close { session, farewell: false })
}

fn sessions(items: &[Item]) -> Vec<u64> {
    let session = |item: &Item| match item {
        Item::Command(Command::Close { session, .. }) => Some(*session),
        _ => None,
    };
    items.iter().filter_map(session).collect()
}

#[test]
fn an_inbox_is_readable_while_it_has_items_and_gives_them_in_order() {
    let inbox = Inbox::new().unwrap();
    assert!(!is_awake(&inbox.waker) && inbox.take().is_empty());
    for session in 1..=3 {
        inbox.push(close(session));
        assert!(is_awake(&inbox.waker));
    }
    assert_eq!(sessions(&inbox.take()), [1, 2, 3]);
    assert!(!is_awake(&inbox.waker) && inbox.take().is_empty());
    inbox.push(close(4));
    assert!(is_awake(&inbox.waker), "it wakes again");
}

#[test]
fn a_push_wakes_a_thread_that_waits() {
    let inbox = Arc::new(Inbox::new().unwrap());
    let waiting = Arc::clone(&inbox);
    let waiter = std::thread::spawn(move || is_awake_within(&waiting.waker, PATIENCE).then(|| waiting.take().len()));
    inbox.push(close(1));
    assert_eq!(waiter.join().unwrap(), Some(1));
}

#[test]
fn nothing_that_many_threads_push_is_lost() {
    const EACH: u64 = 2_000;
    let inbox = Arc::new(Inbox::new().unwrap());
    let pushers: Vec<_> = (0..4)
        .map(|thread| {
            let inbox = Arc::clone(&inbox);
            std::thread::spawn(move || (0..EACH).for_each(|number| inbox.push(close(thread * EACH + number))))
        })
        .collect();
    let mut taken = Vec::new();
    while taken.len() < 4 * EACH as usize {
        assert!(is_awake_within(&inbox.waker, PATIENCE), "{} taken", taken.len());
        taken.extend(sessions(&inbox.take()));
    }
    pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    for thread in 0..4 {
        let own: Vec<u64> = taken.iter().copied().filter(|session| session / EACH == thread).collect();
        assert!(own.windows(2).all(|pair| pair[1] == pair[0] + 1), "each thread's are in order");
    }
    assert!(inbox.take().is_empty());
}

#[test]
fn an_outbox_is_readable_while_it_has_events() {
    let outbox = Outbox::new().unwrap();
    outbox.extend(Vec::new());
    assert!(!is_awake(&outbox.waker), "nothing is no news");
    outbox.extend(vec![Event::Connected(1)]);
    outbox.extend(vec![Event::Gone(1), Event::Connected(2)]);
    assert!(is_awake(&outbox.waker));
    assert_eq!(outbox.take(), [Event::Connected(1), Event::Gone(1), Event::Connected(2)]);
    assert!(!is_awake(&outbox.waker) && outbox.take().is_empty());
}

#[test]
fn an_outbox_that_nobody_empties_is_bounded() {
    let outbox = Outbox::new().unwrap();
    for round in 0..3 {
        outbox.extend((0..MAX_EVENTS as u64 / 2 + 1).map(|at| Event::Gone(round << 32 | at)).collect());
    }
    let events = outbox.take();
    assert_eq!(events.len(), MAX_EVENTS);
    assert_eq!(events[0], Event::Gone(0), "the oldest are kept");
    outbox.extend(vec![Event::Connected(9)]);
    assert_eq!(outbox.take(), [Event::Connected(9)], "and it goes on");
}

#[test]
fn pictures_that_nobody_takes_are_bounded_in_bytes_and_other_events_go_on() {
    let outbox = Outbox::new().unwrap();
    let picture = |sequence| {
        let payload = vec![0; MAX_PICTURE_BYTES / 4];
        let picture = Picture { layer: 0, keyframe: true, sequence, timestamp: 0, capture_time_us: 0, payload };
        Event::Picture(1, picture)
    };
    outbox.extend((0..9).map(picture).collect());
    outbox.extend(vec![Event::Gone(1)]);
    let events = outbox.take();
    assert_eq!(events.len(), 5, "four pictures, and what is not one");
    assert_eq!((&events[3], &events[4]), (&picture(3), &Event::Gone(1)));
    outbox.extend(vec![picture(9)]);
    assert_eq!(outbox.take().len(), 1, "and it goes on");
}
