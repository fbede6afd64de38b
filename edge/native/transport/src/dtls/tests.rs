use std::time::{Duration, Instant};

use farstage_rtp::srtp::Profile;
use proptest::prelude::*;

use super::*;

/// Handshake datagrams in both directions that are lost one after the other; more than a handshake has.
const FLIGHTS: usize = 10;

fn identity(first: bool) -> Identity {
    if first {
        Identity {
            certificate: include_bytes!("../../testdata/first_certificate.der").to_vec(),
            private_key: include_bytes!("../../testdata/first_key.der").to_vec(),
        }
    } else {
        Identity {
            certificate: include_bytes!("../../testdata/second_certificate.der").to_vec(),
            private_key: include_bytes!("../../testdata/second_key.der").to_vec(),
        }
    }
}

fn config(first: bool, settings: &DtlsSettings) -> DtlsConfig {
    DtlsConfig::new(identity(first), settings).unwrap()
}

/// One end of a connection in memory, with everything it gave out.
struct End {
    peer: DtlsPeer,
    buffer: Vec<u8>,
    wake_at: Instant,
    connected: bool,
    closed: bool,
    keys: Option<SrtpKeys>,
    messages: Vec<Vec<u8>>,
    error: Option<DtlsError>,
}

impl End {
    fn new(role: Role, config: &DtlsConfig, expected: [u8; 32], now: Instant) -> Self {
        Self {
            peer: DtlsPeer::new(role, config, expected, now),
            buffer: Vec::new(),
            wake_at: now,
            connected: false,
            closed: false,
            keys: None,
            messages: Vec::new(),
            error: None,
        }
    }

    fn note(&mut self, result: Result<(), DtlsError>) {
        if let Err(error) = result {
            self.error.get_or_insert(error);
        }
    }

    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        while self.error.is_none() {
            match self.peer.poll(&mut self.buffer) {
                Ok(DtlsEvent::Transmit(datagram)) => datagrams.push(datagram.to_vec()),
                Ok(DtlsEvent::Connected) => self.connected = true,
                Ok(DtlsEvent::Keys(keys)) => self.keys = Some(keys),
                Ok(DtlsEvent::ApplicationData(message)) => self.messages.push(message.to_vec()),
                Ok(DtlsEvent::Closed) => self.closed = true,
                Ok(DtlsEvent::WakeAt(at)) => {
                    self.wake_at = at;
                    break;
                }
                Err(error) => self.error = Some(error),
            }
        }
        datagrams
    }
}

/// Client and server over a link in memory that changes or loses datagrams as `link` says.
struct Pair<L: FnMut(usize, Vec<u8>) -> Vec<Vec<u8>>> {
    ends: [End; 2],
    now: Instant,
    sent: usize,
    link: L,
}

impl<L: FnMut(usize, Vec<u8>) -> Vec<Vec<u8>>> Pair<L> {
    fn new(settings: &DtlsSettings, link: L) -> Self {
        let (client, server) = (config(true, settings), config(false, settings));
        let now = Instant::now();
        let ends = [
            End::new(Role::Client, &client, server.fingerprint(), now),
            End::new(Role::Server, &server, client.fingerprint(), now),
        ];
        Self { ends, now, sent: 0, link }
    }

    /// Moves everything that can move now; true if anything did.
    fn exchange(&mut self) -> bool {
        let mut moved = false;
        for from in [0, 1] {
            for datagram in self.ends[from].drain() {
                moved = true;
                self.sent += 1;
                for arrived in (self.link)(self.sent - 1, datagram) {
                    let result = self.ends[1 - from].peer.handle(&arrived, self.now);
                    self.ends[1 - from].note(result);
                }
            }
        }
        moved
    }

    /// Runs for `seconds` of virtual time, or until both ends are connected and idle.
    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            for index in [0, 1] {
                let result = self.ends[index].peer.handle_timeout(self.now);
                self.ends[index].note(result);
            }
            while self.exchange() {}
            if self.ends.iter().all(|end| end.connected) {
                return;
            }
            self.now = self.ends.iter().map(|end| end.wake_at).min().unwrap().max(self.now + Duration::from_millis(1));
        }
    }

    fn assert_connected(&mut self, case: &str) {
        let [client, server] = &mut self.ends;
        assert!(client.connected && server.connected, "{case}: {:?} {:?}", client.error, server.error);
        let (client, server) = (client.keys.as_ref().unwrap(), server.keys.as_ref().unwrap());
        assert_eq!(client.profile, server.profile);
        assert_eq!(client.outbound(), server.inbound(), "{case}");
        assert_eq!(client.inbound(), server.outbound(), "{case}");
        assert_ne!(client.inbound(), client.outbound(), "{case}");
        assert!(client.outbound().is_ok() && client.inbound().is_ok(), "{case}");
        assert_eq!(client.material.len(), client.profile.keying_material_len(), "{case}");
    }
}

fn every_setting() -> [DtlsSettings; 3] {
    [
        DtlsSettings::default(),
        DtlsSettings { versions: Versions::Auto, ..DtlsSettings::default() },
        DtlsSettings { cookie: true, ..DtlsSettings::default() },
    ]
}

#[test]
fn ends_agree_on_keys_and_exchange_messages() {
    for settings in every_setting() {
        let mut pair = Pair::new(&settings, |_, datagram| vec![datagram]);
        pair.run(10);
        pair.assert_connected("no loss");
        assert_eq!(pair.ends[0].keys.as_ref().unwrap().profile, Profile::AeadAes256Gcm);
        for (from, to) in [(0, 1), (1, 0)] {
            pair.ends[from].peer.send_application_data(b"hello").unwrap();
            while pair.exchange() {}
            assert_eq!(pair.ends[to].messages, [b"hello"]);
        }
        pair.ends[0].peer.close().unwrap();
        while pair.exchange() {}
        assert!(pair.ends[1].closed);
    }
}

#[test]
fn the_loss_of_any_datagram_is_made_good() {
    for settings in every_setting() {
        for lost in 0..FLIGHTS {
            let link = |index, datagram| if index == lost { vec![] } else { vec![datagram] };
            let mut pair = Pair::new(&settings, link);
            pair.run(15);
            pair.assert_connected(&format!("{:?}, datagram {lost} lost", settings.versions));
        }
    }
}

#[test]
fn duplicates_and_garbage_are_harmless_for_1_2() {
    let link = |index: usize, datagram: Vec<u8>| {
        let mut cut = datagram.clone();
        cut.truncate(datagram.len() / 2);
        let mut changed = datagram.clone();
        changed[13 + index] ^= 0x55;
        vec![vec![], vec![22; 60], cut, datagram.clone(), datagram, changed]
    };
    let mut pair = Pair::new(&DtlsSettings::default(), link);
    pair.run(15);
    pair.assert_connected("garbage");
}

#[test]
fn a_wrong_certificate_gives_no_keys() {
    for settings in every_setting() {
        for wrong in [0, 1] {
            let mut pair = Pair::new(&settings, |_, datagram| vec![datagram]);
            let configs = [config(true, &settings), config(false, &settings)];
            let role = [Role::Client, Role::Server][wrong];
            pair.ends[wrong] = End::new(role, &configs[wrong], [7; 32], pair.now);
            pair.run(5);
            let end = &mut pair.ends[wrong];
            assert_eq!(end.error, Some(DtlsError::FingerprintMismatch));
            assert!(!end.connected && end.keys.is_none());
            assert_eq!(end.peer.handle(&[22; 20], pair.now), Err(DtlsError::Ended));
            assert!(matches!(end.peer.poll(&mut end.buffer), Err(DtlsError::Ended)));
        }
    }
}

#[test]
fn a_handshake_has_a_deadline() {
    let mut pair =
        Pair::new(&DtlsSettings::default(), |index, datagram| if index < 1 { vec![datagram] } else { vec![] });
    pair.run(60);
    for end in &pair.ends {
        assert!(matches!(end.error, Some(DtlsError::Protocol(dimpl::Error::Timeout(_)))), "{:?}", end.error);
    }
}

#[test]
fn nothing_is_sent_before_the_peer_is_known() {
    let settings = DtlsSettings::default();
    let mut peer = DtlsPeer::new(Role::Server, &config(true, &settings), [0; 32], Instant::now());
    assert_eq!(peer.send_application_data(b"early"), Err(DtlsError::Unauthenticated));
}

#[test]
fn an_unusable_identity_is_refused() {
    let good = identity(true);
    let cut_key = Identity { private_key: good.private_key[..20].to_vec(), ..good.clone() };
    let no_certificate = Identity { certificate: Vec::new(), ..good };
    for bad in [cut_key, no_certificate] {
        assert!(matches!(DtlsConfig::new(bad, &DtlsSettings::default()), Err(DtlsError::Identity(_))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn takes_any_datagram_without_panic(
        datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 0..20),
        header in any::<bool>(),
        auto in any::<bool>(),
    ) {
        let versions = if auto { Versions::Auto } else { Versions::Dtls12 };
        let config = config(true, &DtlsSettings { versions, ..DtlsSettings::default() });
        let now = Instant::now();
        for role in [Role::Client, Role::Server] {
            let mut end = End::new(role, &config, [0; 32], now);
            let started = end.peer.handle_timeout(now);
            end.note(started);
            for mut datagram in datagrams.clone() {
                if header && datagram.len() > 13 {
                    let length = (datagram.len() - 13) as u16;
                    datagram[..5].copy_from_slice(&[22, 254, 253, 0, 0]);
                    datagram[11..13].copy_from_slice(&length.to_be_bytes());
                }
                let _ = end.peer.handle(&datagram, now);
                end.drain();
            }
            prop_assert!(!end.connected && end.keys.is_none());
        }
    }

    #[test]
    fn truncation_of_any_datagram_is_made_good(index in 0usize..FLIGHTS, kept in 0usize..1200) {
        let mut pair = Pair::new(&DtlsSettings::default(), move |sent, mut datagram: Vec<u8>| {
            if sent == index {
                datagram.truncate(kept);
            }
            vec![datagram]
        });
        pair.run(15);
        pair.assert_connected("truncated");
    }
}
