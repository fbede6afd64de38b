use std::net::Ipv4Addr;

use super::*;
use crate::poller::Poller;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection and its peer's end, which blocks.
fn pair() -> (Connection, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let (accepted, peer) = listener.accept().unwrap();
    (Connection::new(1, accepted, peer, Instant::now()).unwrap(), client)
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes()[..], packet].concat()
}

/// Waits until there is something to read, or room to write.
fn wait(connection: &Connection, writable: bool) {
    let mut poller = Poller::new().unwrap();
    poller.watch(connection.fd(), 0, writable).unwrap();
    let mut ready = Vec::new();
    for _ in 0..PATIENCE.as_secs() {
        poller.wait(PATIENCE, &mut ready).unwrap();
        if !ready.is_empty() {
            return;
        }
    }
    panic!("nothing came within {PATIENCE:?}");
}

/// Receives until this many frames have come, or the connection is over.
fn receive(connection: &mut Connection, count: usize) -> (Vec<Vec<u8>>, bool) {
    let mut frames = Vec::new();
    while frames.len() < count {
        wait(connection, false);
        if !connection.receive(&mut frames) {
            return (frames, false);
        }
    }
    (frames, true)
}

/// Reads whole frames at the peer's end.
fn read_frames(client: &mut TcpStream, count: usize) -> Vec<Vec<u8>> {
    let read = |client: &mut TcpStream| {
        let mut length = [0; 2];
        client.read_exact(&mut length).unwrap();
        let mut frame = vec![0; usize::from(u16::from_be_bytes(length))];
        client.read_exact(&mut frame).unwrap();
        frame
    };
    (0..count).map(|_| read(client)).collect()
}

#[test]
fn frames_split_at_any_byte_come_whole() {
    let packets = [b"first".to_vec(), vec![7; 300], vec![], b"x".to_vec()];
    let wire: Vec<u8> = packets.iter().flat_map(|packet| framed(packet)).collect();
    for split in (0..12).chain(wire.len() - 8..=wire.len()) {
        let (mut connection, mut client) = pair();
        client.write_all(&wire[..split]).unwrap();
        let mut frames = Vec::new();
        if split > 0 {
            wait(&connection, false);
            assert!(connection.receive(&mut frames), "split at {split}");
        }
        client.write_all(&wire[split..]).unwrap();
        let (more, open) = receive(&mut connection, packets.len() - frames.len());
        frames.extend(more);
        assert!(open && frames == packets, "split at {split}");
    }
}

#[test]
fn frames_that_come_byte_by_byte_come_whole() {
    let (mut connection, mut client) = pair();
    let packets = [b"one".to_vec(), b"another".to_vec()];
    let mut frames = Vec::new();
    for byte in packets.iter().flat_map(|packet| framed(packet)) {
        client.write_all(&[byte]).unwrap();
        wait(&connection, false);
        assert!(connection.receive(&mut frames));
    }
    assert_eq!(frames, packets);
}

#[test]
fn many_frames_in_one_piece_come_in_order() {
    let (mut connection, mut client) = pair();
    let packets: Vec<Vec<u8>> = (0..200_u8).map(|number| vec![number; 1 + 10 * usize::from(number)]).collect();
    let wire: Vec<u8> = packets.iter().flat_map(|packet| framed(packet)).collect();
    let writer = std::thread::spawn(move || client.write_all(&wire).map(|()| client));
    let (frames, open) = receive(&mut connection, packets.len());
    assert!(open && frames == packets);
    writer.join().unwrap().unwrap();
}

#[test]
fn the_largest_frame_is_taken_and_a_larger_one_ends_the_connection() {
    let (mut connection, mut client) = pair();
    client.write_all(&framed(&vec![1; MAX_FRAME_BYTES])).unwrap();
    let (frames, open) = receive(&mut connection, 1);
    assert!(open && frames[0].len() == MAX_FRAME_BYTES);
    client.write_all(&framed(b"good")).unwrap();
    client.write_all(&(MAX_FRAME_BYTES as u16 + 1).to_be_bytes()).unwrap();
    let (frames, open) = receive(&mut connection, 2);
    assert!(!open, "the length alone ends it: its frame need not come");
    assert_eq!(frames, [b"good"], "what came before counts");
}

#[test]
fn a_peer_that_ends_the_connection_is_noticed() {
    let (mut connection, mut client) = pair();
    client.write_all(&framed(b"last")).unwrap();
    client.write_all(&[0]).unwrap();
    drop(client);
    assert_eq!(receive(&mut connection, 2), (vec![b"last".to_vec()], false));
}

#[test]
fn nothing_to_read_is_no_end() {
    let (mut connection, _client) = pair();
    let mut frames = Vec::new();
    assert!(connection.receive(&mut frames) && frames.is_empty());
}

#[test]
fn a_run_of_datagrams_leaves_as_a_frame_each() {
    let (mut connection, mut client) = pair();
    let buffer: Vec<u8> = (0..2_500_u16).map(|number| number as u8).collect();
    assert!(connection.send(&buffer, 1_000));
    assert!(connection.send(b"alone", 5));
    let expected: Vec<Vec<u8>> = buffer.chunks(1_000).map(<[u8]>::to_vec).chain([b"alone".to_vec()]).collect();
    assert_eq!(read_frames(&mut client, 4), expected);
    assert!(!connection.wants_to_write());
}

#[test]
fn what_waits_for_a_peer_that_does_not_read_is_bounded_and_refused_whole() {
    let (mut connection, mut client) = pair();
    let run: Vec<u8> = vec![5; 44 * 1_200];
    let mut taken = 0;
    while connection.send(&run, 1_200) {
        taken += 1;
        assert!(taken < 10_000, "it is taken without end");
    }
    let most = MAX_WAITING_BYTES + run.len() + 44 * 2;
    let waiting = |connection: &Connection| connection.waiting.len() - connection.sent;
    assert!(waiting(&connection) <= most, "{} bytes wait", waiting(&connection));
    assert!(connection.wants_to_write());
    let before = waiting(&connection);
    for _ in 0..100 {
        assert!(!connection.send(&run, 1_200));
    }
    assert_eq!(waiting(&connection), before, "nothing of what is refused is kept");

    let reader = std::thread::spawn(move || {
        let frames = read_frames(&mut client, taken * 44 + 1);
        frames.split_last().map(|(last, before)| (last.clone(), before.iter().all(|frame| *frame == [5; 1_200])))
    });
    while connection.wants_to_write() {
        wait(&connection, true);
        connection.flush();
        assert!(connection.waiting.capacity() <= 4 * most, "{} bytes of memory", connection.waiting.capacity());
    }
    assert!(connection.send(b"room again", 10));
    assert_eq!(reader.join().unwrap(), Some((b"room again".to_vec(), true)));
}

#[test]
fn to_a_peer_that_is_gone_all_is_taken_and_nothing_kept() {
    let (mut connection, client) = pair();
    drop(client);
    for _ in 0..1_000 {
        assert!(connection.send(&[5; 60_000], 1_200), "lost, as on a line that is cut");
        if connection.broken {
            break;
        }
    }
    assert!(connection.broken && !connection.wants_to_write());
    assert!(connection.send(&[5; 60_000], 1_200) && connection.waiting.is_empty());
}

#[test]
fn shards_listen_on_one_port_and_others_may_not() {
    let first = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = first.local_addr().unwrap();
    let second = listen(address).unwrap();
    assert_eq!(second.local_addr().unwrap(), address);
    assert!(TcpListener::bind(address).is_err());
}
