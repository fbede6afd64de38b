"""Where webhooks may go: the guard against having the broker call what only it can reach (SSRF).

Two checks. A URL is read when it is given and before each request, so that who makes a webhook is told at once what is
wrong with it. And every address is judged where its socket is made, after all resolving and parsing, so that neither a
name that means another address now than a moment ago (DNS rebinding) nor an odd spelling of an address gains anything:
what was judged is what is dialled.
"""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network
from typing import Any
from urllib.parse import urlsplit

from broker.api.client_address import Address, Network

_NAT64 = IPv6Network("64:ff9b::/96")
"""Addresses by which a NAT64 gateway reaches IPv4 (RFC 6052)."""
SocketAddress = tuple[int, int, int, str, tuple[Any, ...]]
"""Family, type, protocol, canonical name and address, as `getaddrinfo` gives them."""


class TargetRefused(OSError):
    """The broker does not send webhooks there; the message says why."""


@dataclass(frozen=True, slots=True)
class TargetGuard:
    """What the operator's configuration lets webhooks reach beyond public addresses by https."""

    networks: Sequence[Network] = ()
    allows_http: bool = False

    def check_url(self, url: str) -> None:
        """Raise `TargetRefused` unless it is an https URL whose host may be allowed."""
        if not url.isprintable() or " " in url:
            raise TargetRefused("the URL contains a space or control character")
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise TargetRefused(f"not a URL: {error}") from error
        if parts.scheme != "https" and not (self.allows_http and parts.scheme == "http"):
            raise TargetRefused("the scheme must be https")
        if not host:
            raise TargetRefused("the URL names no host")
        if parts.username is not None or parts.password is not None:
            raise TargetRefused("the URL carries a user name or password; the signature proves who sends")
        if (address := _literal(host)) is not None:
            self.check_address(address)

    def check_address(self, address: Address) -> None:
        """Raise `TargetRefused` unless what it leads to is public or in an allowed network."""
        for candidate in _reached(address):
            is_public = candidate.is_global and not candidate.is_multicast and not candidate.is_reserved
            if not is_public and not any(candidate in network for network in self.networks):
                raise TargetRefused("the host is not a public address, nor in broker.webhook_networks")

    def make_socket(self, target: SocketAddress) -> socket.socket:
        """The socket for a connection, if it may be made. Raises `TargetRefused`."""
        family, kind, protocol, _, (host, *_rest) = target
        address = _literal(str(host))
        if address is None:
            raise TargetRefused("the host is not an address")
        self.check_address(address)
        return socket.socket(family, kind, protocol)


def _literal(host: str) -> Address | None:
    """The address that is written here, without the zone of a link-local one."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _reached(address: Address) -> list[Address]:
    """What a packet to this address may reach: gateways take IPv4 addresses out of some."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    tunnelled = [address.sixtofour, *(address.teredo or ())]
    return [address, *(inner for inner in tunnelled if inner is not None)]
