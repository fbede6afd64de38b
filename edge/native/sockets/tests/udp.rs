//! Datagrams over loopback: what is sent in one call arrives as so many datagrams, in both modes and families.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use farstage_sockets::udp::{Batch, SEND_BUFFER_BYTES, SendMode, Udp};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

fn families() -> [SocketAddr; 2] {
    [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))]
}

fn receiver(local: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(local).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The modes that this kernel has.
fn modes(socket: &Udp) -> Vec<SendMode> {
    if socket.mode() == SendMode::Gso { vec![SendMode::Gso, SendMode::Sendmmsg] } else { vec![SendMode::Sendmmsg] }
}

fn take(socket: &UdpSocket, count: usize) -> Vec<(Vec<u8>, SocketAddr)> {
    let take_one = |_| {
        let mut buffer = [0; 4_096];
        let (length, from) = socket.recv_from(&mut buffer).expect("a datagram");
        (buffer[..length].to_vec(), from)
    };
    (0..count).map(take_one).collect()
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[test]
fn both_modes_deliver_the_same_datagrams_in_order() {
    let runs = [
        (1, 1_200),
        (1_200, 1_200),
        (1_201, 1_200),
        (3 * 1_200, 1_200),
        (43 * 1_200 + 17, 1_200),
        (44 * 1_200, 1_200),
        // More segments than one kernel send takes.
        (150 * 300 + 5, 300),
        (SEND_BUFFER_BYTES / 2, 257),
    ];
    for local in families() {
        let sender = Udp::bind(local, false).unwrap();
        for mode in modes(&sender) {
            sender.set_mode(mode);
            let socket = receiver(local);
            let to = socket.local_addr().unwrap();
            for (length, segment) in runs {
                let buffer = bytes(length);
                assert!(sender.send(to, &buffer, segment));
                let expected: Vec<&[u8]> = buffer.chunks(segment).collect();
                let arrived = take(&socket, expected.len());
                let from = sender.local_address().unwrap();
                let datagrams: Vec<&[u8]> = arrived.iter().map(|(datagram, _)| datagram.as_slice()).collect();
                assert_eq!(datagrams, expected, "{} {length} by {segment} on {local}", mode.name());
                assert!(arrived.iter().all(|(_, sender)| *sender == from));
            }
        }
    }
}

#[test]
fn a_batch_takes_what_has_come_with_its_sender_and_no_more() {
    for local in families() {
        let socket = Udp::bind(local, false).unwrap();
        let to = socket.local_address().unwrap();
        let senders = [UdpSocket::bind(local).unwrap(), UdpSocket::bind(local).unwrap()];
        let mut batch = Batch::new();
        assert_eq!(batch.receive(socket.fd(), |_, _| panic!("nothing was sent")).unwrap(), 0);
        let mut expected = Vec::new();
        for number in 0..70_u8 {
            let sender = &senders[usize::from(number % 2)];
            let datagram = vec![number; 1 + usize::from(number) * 17];
            sender.send_to(&datagram, to).unwrap();
            expected.push((sender.local_addr().unwrap(), datagram));
        }
        let mut taken = Vec::new();
        let mut counts = Vec::new();
        while taken.len() < expected.len() {
            let count = batch.receive(socket.fd(), |from, datagram| taken.push((from, datagram.to_vec()))).unwrap();
            counts.push(count);
        }
        assert_eq!(taken, expected);
        assert!(counts.len() >= 3 && counts.iter().all(|count| *count <= 32), "{counts:?}");
        assert_eq!(batch.receive(socket.fd(), |_, _| panic!("all was taken")).unwrap(), 0);
    }
}

#[test]
fn empty_and_oversized_datagrams_are_taken_within_bounds() {
    let socket = Udp::bind(families()[0], false).unwrap();
    let sender = UdpSocket::bind(families()[0]).unwrap();
    for length in [0, 2_048, 2_049, 60_000] {
        sender.send_to(&vec![1; length], socket.local_address().unwrap()).unwrap();
    }
    let mut lengths = Vec::new();
    let mut batch = Batch::new();
    while lengths.len() < 4 {
        batch.receive(socket.fd(), |_, datagram| lengths.push(datagram.len())).unwrap();
    }
    assert_eq!(lengths, [0, 2_048, 2_048, 2_048]);
}

#[test]
fn what_the_network_refuses_counts_as_sent() {
    for local in families() {
        let sender = Udp::bind(local, false).unwrap();
        for mode in modes(&sender) {
            sender.set_mode(mode);
            let closed = receiver(local).local_addr().unwrap();
            for _ in 0..3 {
                assert!(sender.send(closed, &bytes(3_000), 1_200), "nobody listens");
            }
            let mut batch = Batch::new();
            let _ = batch.receive(sender.fd(), |_, _| panic!("nothing was sent"));
            let socket = receiver(local);
            assert!(sender.send(socket.local_addr().unwrap(), &bytes(3_000), 1_200));
            assert_eq!(take(&socket, 3).len(), 3, "the socket goes on");
        }
    }
    let sender = Udp::bind(families()[0], false).unwrap();
    assert!(sender.send("[::1]:9".parse().unwrap(), &bytes(10), 10), "the other family");
}

#[test]
fn a_port_is_shared_only_by_those_who_agree() {
    for local in families() {
        let first = Udp::bind(local, true).unwrap();
        let address = first.local_address().unwrap();
        let second = Udp::bind(address, true).unwrap();
        assert_eq!(second.local_address().unwrap(), address);
        let refused = Udp::bind(address, false).err().expect("the port is taken");
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
        assert_ne!(first.fd(), second.fd());
    }
}

#[test]
fn the_same_port_of_both_families_can_be_bound() {
    let v6 = Udp::bind(families()[1], true).unwrap();
    let port = v6.local_address().unwrap().port();
    let any_v6 = Udp::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), true).unwrap();
    let any_v4 = Udp::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), true);
    assert!(any_v4.is_ok(), "IPv6 sockets take IPv6 alone: {:?}", any_v4.err());
    drop(any_v6);
}
