//! Attribute types and the values that need more than a copy (RFC 8489 section 14, RFC 8445 section 16).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{MAGIC_COOKIE, TransactionId};

pub(crate) const MAPPED_ADDRESS: u16 = 0x0001;
pub(crate) const USERNAME: u16 = 0x0006;
pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
pub(crate) const ERROR_CODE: u16 = 0x0009;
pub(crate) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
pub(crate) const REALM: u16 = 0x0014;
pub(crate) const NONCE: u16 = 0x0015;
pub(crate) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
pub(crate) const PASSWORD_ALGORITHM: u16 = 0x001d;
pub(crate) const USERHASH: u16 = 0x001e;
pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
pub(crate) const PRIORITY: u16 = 0x0024;
pub(crate) const USE_CANDIDATE: u16 = 0x0025;
pub(crate) const FINGERPRINT: u16 = 0x8028;
pub(crate) const ICE_CONTROLLED: u16 = 0x8029;
pub(crate) const ICE_CONTROLLING: u16 = 0x802a;

const FAMILY_IPV4: u8 = 1;
const FAMILY_IPV6: u8 = 2;

/// The sender's role with its tie-breaker (RFC 8445 section 7.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceRole {
    /// The sender nominates pairs.
    Controlling(u64),
    /// The sender follows the other side's nomination.
    Controlled(u64),
}

/// Comprehension-required attributes (types below 0x8000) that this module does not know. A request with one has to
/// be answered with error 420 (RFC 8489 section 6.3.1). Only the first few are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnknownAttributes {
    types: [u16; 4],
    kept: u8,
}

impl UnknownAttributes {
    /// The types, in the order of the message.
    pub fn types(&self) -> &[u16] {
        self.types.get(..usize::from(self.kept)).unwrap_or_default()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kept == 0
    }

    pub(crate) fn push(&mut self, kind: u16) {
        if let Some(slot) = self.types.get_mut(usize::from(self.kept)) {
            *slot = kind;
            self.kept += 1;
        }
    }
}

/// Whether the attribute must be understood (RFC 8489 section 14) and is not.
pub(crate) fn is_unknown_required(kind: u16) -> bool {
    let known = matches!(
        kind,
        MAPPED_ADDRESS
            | USERNAME
            | MESSAGE_INTEGRITY
            | ERROR_CODE
            | UNKNOWN_ATTRIBUTES
            | REALM
            | NONCE
            | MESSAGE_INTEGRITY_SHA256
            | PASSWORD_ALGORITHM
            | USERHASH
            | XOR_MAPPED_ADDRESS
            | PRIORITY
            | USE_CANDIDATE
    );
    kind < 0x8000 && !known
}

/// Reads XOR-MAPPED-ADDRESS (RFC 8489 section 14.2).
pub(crate) fn read_address(value: &[u8], id: &TransactionId) -> Option<SocketAddr> {
    let [0, family, port_high, port_low, address @ ..] = value else {
        return None;
    };
    let port = u16::from_be_bytes([*port_high, *port_low]) ^ u16::from_be_bytes([MAGIC_COOKIE[0], MAGIC_COOKIE[1]]);
    let ip = match *family {
        FAMILY_IPV4 => IpAddr::from(Ipv4Addr::from(masked::<4>(address, id)?)),
        FAMILY_IPV6 => IpAddr::from(Ipv6Addr::from(masked::<16>(address, id)?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Appends the value of XOR-MAPPED-ADDRESS. An IPv4 address in IPv6 form is written as IPv4.
pub(crate) fn write_address(out: &mut Vec<u8>, address: SocketAddr, id: &TransactionId) {
    let port = address.port() ^ u16::from_be_bytes([MAGIC_COOKIE[0], MAGIC_COOKIE[1]]);
    let (family, octets, length) = match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&ip.octets());
            (FAMILY_IPV4, octets, 4)
        }
        IpAddr::V6(ip) => (FAMILY_IPV6, ip.octets(), 16),
    };
    out.extend_from_slice(&[0, family]);
    out.extend_from_slice(&port.to_be_bytes());
    out.extend(octets.iter().zip(mask(id)).take(length).map(|(octet, mask)| octet ^ mask));
}

/// Octets a XOR-MAPPED-ADDRESS value of `address` takes.
pub(crate) fn address_length(address: SocketAddr) -> usize {
    if address.ip().to_canonical().is_ipv4() { 8 } else { 20 }
}

fn masked<const N: usize>(octets: &[u8], id: &TransactionId) -> Option<[u8; N]> {
    let mut address: [u8; N] = octets.try_into().ok()?;
    address.iter_mut().zip(mask(id)).for_each(|(octet, mask)| *octet ^= mask);
    Some(address)
}

fn mask(id: &TransactionId) -> impl Iterator<Item = u8> + '_ {
    MAGIC_COOKIE.into_iter().chain(id.0)
}
