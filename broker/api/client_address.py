"""Whose request it is: the TCP peer's, or, behind reverse proxies that are trusted, whom they name.

`X-Forwarded-For` is a claim of whoever sent it. Each proxy appends the address it was called from, so only the
entries on the right, appended by trusted proxies, can be believed: reading goes from the right and ends at the
first address that is not a trusted proxy. What stands left of it may be invented and is never looked at.
"""

import ipaddress
from collections.abc import Sequence

FORWARDED_FOR = "X-Forwarded-For"
MAX_HOPS = 16
"""Stops long headers from costing time; honest chains have two or three."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_networks(networks: Sequence[str]) -> tuple[Network, ...]:
    """Networks such as `10.0.0.0/8`, or single addresses. Raises `ValueError` naming the one that is wrong."""
    return tuple(ipaddress.ip_network(network) for network in networks)


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The nearest address that is no trusted proxy; the farthest one known when all are. Limits apply to it.

    `peer` is the TCP peer, `forwarded` the values of all `X-Forwarded-For` headers in their order.
    """
    hops = [hop.strip() for value in forwarded for hop in value.split(",")]
    address = _parse(peer)
    if address is None:
        return peer
    for hop in reversed(hops[-MAX_HOPS:]):
        named = _parse(hop)
        if named is None or not _is_trusted(address, trusted):
            break
        address = named
    return str(address)


def network_of(address: str) -> str:
    """The network that an address is in, as telemetry groups them: `/24`, `/48`; empty if it is no address.

    So much of an address says where a line leads, and names no household.
    """
    parsed = _parse(address)
    if parsed is None:
        return ""
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))


def _parse(text: str) -> Address | None:
    """An address, with IPv4 in IPv6 clothing undressed, or `None`."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)
