//! The controlling side of ICE in its simplest full form (RFC 8445): checks with nomination to the answer's
//! candidates, answers to the server's own checks, and consent (RFC 7675).

use std::net::SocketAddr;

use farstage_transport::stun::{
    self, BindingRequest, Class, IceRole, IntegrityKey, Message, TransactionId, write_binding_request,
    write_binding_success,
};

use crate::outbox::Outbox;
use crate::random::{self, Random};
use crate::sdp::{Answer, Credentials};

/// Candidates that are checked.
const MAX_CANDIDATES: usize = 8;
/// Requests whose answer is still waited for.
const MAX_PENDING: usize = 16;
const FIRST_INTERVAL_US: u64 = 50_000;
const MAX_INTERVAL_US: u64 = 1_000_000;
const CONNECT_LIMIT_US: u64 = 20_000_000;
/// Consent is asked for at 2.5 to 5 s and ends 30 s after the last answer (RFC 7675 section 5.1).
const CONSENT_US: u64 = 2_500_000;
const CONSENT_LIMIT_US: u64 = 30_000_000;
/// Priority of a peer-reflexive candidate (RFC 8445 section 5.1.2).
const PRIORITY: u32 = 110 << 24 | 65_535 << 8 | 255;

/// What a STUN message changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceProgress {
    /// Nothing.
    None,
    /// The first check was answered: media goes to this address.
    Selected(SocketAddr),
    /// Not from our server, or not for us.
    Refused,
}

#[derive(Clone, Copy)]
struct Pending {
    id: TransactionId,
    sent_us: u64,
}

/// One viewer's ICE.
pub struct Ice {
    username: Vec<u8>,
    expected_username: Vec<u8>,
    local_key: IntegrityKey,
    remote_key: IntegrityKey,
    candidates: Vec<SocketAddr>,
    tie_breaker: u64,
    pending: Vec<Pending>,
    selected: Option<SocketAddr>,
    interval_us: u64,
    started_us: u64,
    answered_us: u64,
    due_us: u64,
    rtt_us: Option<u64>,
    error_code: Option<u16>,
}

impl Ice {
    /// Starts checks of `candidates` at once.
    pub fn new(local: &Credentials, answer: &Answer, candidates: &[SocketAddr], now_us: u64) -> Self {
        Self {
            username: format!("{}:{}", answer.fragment, local.fragment).into_bytes(),
            expected_username: format!("{}:{}", local.fragment, answer.fragment).into_bytes(),
            local_key: IntegrityKey::new(local.password.as_bytes()),
            remote_key: IntegrityKey::new(answer.password.as_bytes()),
            candidates: candidates.iter().take(MAX_CANDIDATES).copied().collect(),
            tie_breaker: u64::from_be_bytes(random::octets()),
            pending: Vec::with_capacity(MAX_PENDING),
            selected: None,
            interval_us: FIRST_INTERVAL_US,
            started_us: now_us,
            answered_us: now_us,
            due_us: now_us,
            rtt_us: None,
            error_code: None,
        }
    }

    /// Where media goes, once a check was answered.
    pub fn selected(&self) -> Option<SocketAddr> {
        self.selected
    }

    /// Smoothed round trip of the checks.
    pub fn rtt_us(&self) -> Option<u64> {
        self.rtt_us
    }

    /// When [`Ice::tick`] has something to do next.
    pub fn due_us(&self) -> u64 {
        self.due_us
    }

    /// Sends the checks that are due.
    ///
    /// # Errors
    /// The reason for which the connection is over.
    pub fn tick(&mut self, now_us: u64, random: &mut Random, out: &mut Outbox) -> Result<(), String> {
        if now_us < self.due_us {
            return Ok(());
        }
        match self.selected {
            None if now_us - self.started_us > CONNECT_LIMIT_US => Err(self.silence()),
            Some(_) if now_us - self.answered_us > CONSENT_LIMIT_US => Err("consent lost: no answer for 30 s".into()),
            None => {
                (0..self.candidates.len()).for_each(|index| self.check(self.candidates[index], now_us, out));
                self.due_us = now_us + self.interval_us;
                self.interval_us = (self.interval_us * 2).min(MAX_INTERVAL_US);
                Ok(())
            }
            Some(address) => {
                self.check(address, now_us, out);
                self.due_us = now_us + CONSENT_US + (random.unit() * CONSENT_US as f64) as u64;
                Ok(())
            }
        }
    }

    fn silence(&self) -> String {
        match self.error_code {
            Some(code) => format!("ICE checks are refused with error {code}"),
            None => "no answer to ICE checks".to_owned(),
        }
    }

    fn check(&mut self, to: SocketAddr, now_us: u64, out: &mut Outbox) {
        let id = TransactionId(random::octets());
        if self.pending.len() >= MAX_PENDING {
            self.pending.remove(0);
        }
        self.pending.push(Pending { id, sent_us: now_us });
        let request = BindingRequest {
            transaction_id: id,
            username: &self.username,
            priority: PRIORITY,
            role: IceRole::Controlling(self.tie_breaker),
            use_candidate: true,
        };
        let key = &self.remote_key;
        out.write(to, |bytes| write_binding_request(bytes, &request, key));
    }

    /// Takes a STUN message that came from `from`.
    pub fn receive(&mut self, datagram: &[u8], from: SocketAddr, now_us: u64, out: &mut Outbox) -> IceProgress {
        let Ok(message) = stun::parse(datagram) else {
            return IceProgress::Refused;
        };
        match message.class {
            Class::Request => self.answer(&message, from, out),
            Class::Success => self.succeed(&message, from, now_us),
            Class::Error => {
                self.error_code = message.error_code;
                IceProgress::None
            }
            Class::Indication => IceProgress::None,
        }
    }

    fn answer(&mut self, message: &Message<'_>, from: SocketAddr, out: &mut Outbox) -> IceProgress {
        if message.username != Some(&self.expected_username) || !message.verify(&self.local_key) {
            return IceProgress::Refused;
        }
        let (id, key) = (message.transaction_id, &self.local_key);
        out.write(from, |bytes| write_binding_success(bytes, id, from, key));
        IceProgress::None
    }

    fn succeed(&mut self, message: &Message<'_>, from: SocketAddr, now_us: u64) -> IceProgress {
        let Some(index) = self.pending.iter().position(|pending| pending.id == message.transaction_id) else {
            return IceProgress::Refused;
        };
        if !message.verify(&self.remote_key) {
            return IceProgress::Refused;
        }
        let sample_us = now_us.saturating_sub(self.pending.swap_remove(index).sent_us);
        self.rtt_us = Some(self.rtt_us.map_or(sample_us, |mean| mean - mean / 8 + sample_us / 8));
        self.answered_us = now_us;
        if self.selected.is_some() {
            return IceProgress::None;
        }
        self.selected = Some(from);
        self.pending.clear();
        self.due_us = now_us + CONSENT_US;
        IceProgress::Selected(from)
    }
}

#[cfg(test)]
mod tests {
    use farstage_transport::stun::write_binding_error;

    use super::*;
    use crate::sdp::Setup;

    const SERVER: &str = "192.0.2.1:9000";

    fn ice() -> (Ice, Credentials, Answer) {
        let local = Credentials::new();
        let answer = Answer {
            fragment: "srvr".into(),
            password: "a-password-of-the-server".into(),
            fingerprint: [0; 32],
            setup: Setup::Passive,
            udp: vec![SERVER.parse().unwrap(), "192.0.2.2:9000".parse().unwrap()],
            tcp: vec![],
            video: vec![102],
        };
        (Ice::new(&local, &answer, &answer.udp, 0), local, answer)
    }

    fn sent(out: &mut Outbox) -> Vec<(SocketAddr, Vec<u8>)> {
        let sent = out.datagrams().map(|(to, bytes)| (to, bytes.to_vec())).collect();
        out.clear();
        sent
    }

    #[test]
    fn an_answered_check_selects_its_candidate() {
        let (mut ice, local, answer) = ice();
        let (mut out, mut random) = (Outbox::default(), Random::new(1, 1));
        ice.tick(0, &mut random, &mut out).unwrap();
        let checks = sent(&mut out);
        assert_eq!(checks.len(), 2);
        let request = stun::parse(&checks[0].1).unwrap();
        assert!(request.use_candidate && request.verify(&IntegrityKey::new(answer.password.as_bytes())));
        assert_eq!(request.username.unwrap(), format!("srvr:{}", local.fragment).as_bytes());
        let mut reply = Vec::new();
        let wrong = IntegrityKey::new(b"wrong");
        write_binding_success(&mut reply, request.transaction_id, SERVER.parse().unwrap(), &wrong);
        assert_eq!(ice.receive(&reply, SERVER.parse().unwrap(), 9_000, &mut out), IceProgress::Refused);
        reply.clear();
        let key = IntegrityKey::new(answer.password.as_bytes());
        write_binding_success(&mut reply, request.transaction_id, SERVER.parse().unwrap(), &key);
        let selected = ice.receive(&reply, SERVER.parse().unwrap(), 9_000, &mut out);
        assert_eq!(selected, IceProgress::Selected(SERVER.parse().unwrap()));
        assert_eq!(ice.rtt_us(), Some(9_000));
        assert!((2_500_000..=5_100_000).contains(&ice.due_us()));
    }

    #[test]
    fn the_servers_checks_are_answered_if_they_are_for_us() {
        let (mut ice, local, answer) = ice();
        let mut out = Outbox::default();
        for (password, progress) in [(local.password.as_str(), IceProgress::None), ("wrong", IceProgress::Refused)] {
            let mut request = Vec::new();
            let username = format!("{}:{}", local.fragment, answer.fragment);
            let binding = BindingRequest {
                transaction_id: TransactionId([3; 12]),
                username: username.as_bytes(),
                priority: 1,
                role: IceRole::Controlled(1),
                use_candidate: false,
            };
            write_binding_request(&mut request, &binding, &IntegrityKey::new(password.as_bytes()));
            assert_eq!(ice.receive(&request, SERVER.parse().unwrap(), 0, &mut out), progress);
        }
        let replies = sent(&mut out);
        assert_eq!(replies.len(), 1);
        assert!(stun::parse(&replies[0].1).unwrap().verify(&IntegrityKey::new(local.password.as_bytes())));
    }

    #[test]
    fn silence_and_refusal_end_with_their_reason() {
        let (mut ice, ..) = ice();
        let (mut out, mut random) = (Outbox::default(), Random::new(1, 1));
        while ice.tick(ice.due_us(), &mut random, &mut out).is_ok() {}
        assert!(ice.due_us() > CONNECT_LIMIT_US);
        assert_eq!(ice.silence(), "no answer to ICE checks");
        let mut refusal = Vec::new();
        write_binding_error(&mut refusal, TransactionId([0; 12]), 487, &[], None);
        ice.receive(&refusal, SERVER.parse().unwrap(), 0, &mut out);
        assert_eq!(ice.silence(), "ICE checks are refused with error 487");
    }
}
