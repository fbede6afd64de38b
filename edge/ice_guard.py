"""Keeps datagrams of strangers away from aiortc.

aiortc 1.16 (aioice 0.13) has two faults an edge must not be exposed to: a datagram that is not STUN reaches the DTLS
reader through an unbounded queue whoever sent it, and a STUN request with a wrong MESSAGE-INTEGRITY is answered.
`GuardedStunProtocol` stands where aioice opens its sockets and lets through only

* STUN requests that carry our username and a valid MESSAGE-INTEGRITY (RFC 8445, section 7.3; silence otherwise),
* STUN responses to a transaction that is under way,
* other datagrams from an address one of the above has validated, while the queue has room.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import aioice.ice
from aioice import stun

MAX_QUEUED_DATAGRAMS = 1024
"""Stops a validated but hostile peer from filling memory while the event loop is busy."""
MAX_VALIDATED_ADDRESSES = 16
"""A client's own network interfaces; more would be somebody replaying its credentials from everywhere."""
CONSENT_INTERVAL_S = 1.0
CONSENT_FAILURES = 5


@dataclass(slots=True)
class GuardCounters:
    """Datagrams dropped in this process since it started, by reason."""

    stun_unauthenticated: int = 0
    stun_malformed: int = 0
    unvalidated_source: int = 0
    queue_full: int = 0


counters = GuardCounters()
_plain_protocol = aioice.ice.StunProtocol
_machine_addresses = aioice.ice.get_host_addresses
LOOPBACK = "127.0.0.1"
"""Offered by a machine without any network: its own browser still gets in."""


class GuardedStunProtocol(_plain_protocol):
    """aioice's datagram protocol behind the guard."""

    def __init__(self, receiver: Any) -> None:
        super().__init__(receiver)
        self._validated: set[tuple[str, int]] = set()

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        """Pass the datagram on if it is who it says it is, count it otherwise."""
        if not isinstance(data, bytes) or not data:
            return
        source = (addr[0], addr[1])
        if data[0] < 4:
            if self._is_authentic_stun(data):
                self._validate(source)
                super().datagram_received(data, addr)
        elif source not in self._validated:
            counters.unvalidated_source += 1
        elif self.receiver._queue.qsize() >= MAX_QUEUED_DATAGRAMS:
            counters.queue_full += 1
        else:
            self.receiver.data_received(data, self.local_candidate.component)

    def _validate(self, source: tuple[str, int]) -> None:
        if len(self._validated) < MAX_VALIDATED_ADDRESSES:
            self._validated.add(source)

    def _is_authentic_stun(self, data: bytes) -> bool:
        try:
            message = stun.parse_message(data)
        except Exception:
            # aioice's parser lets struct, Unicode and lookup errors of hostile attributes through.
            counters.stun_malformed += 1
            return False
        if message.message_class in (stun.Class.RESPONSE, stun.Class.ERROR):
            authentic = message.transaction_id in self.transactions
        else:
            authentic = message.message_class == stun.Class.REQUEST and self._is_authentic_request(message)
        counters.stun_unauthenticated += not authentic
        return authentic

    def _is_authentic_request(self, message: stun.Message) -> bool:
        attributes = message.attributes
        return (
            message.message_method == stun.Method.BINDING
            and "PRIORITY" in attributes
            and "USERNAME" in attributes
            and "MESSAGE-INTEGRITY" in attributes
            and self.receiver._valid_username(attributes["USERNAME"])
            and message.check_message_integrity(self.receiver.local_password.encode())
        )


def install(host_addresses: Iterable[str] = ()) -> None:
    """Guard every ICE socket this process opens from now on, and shorten aioice's consent checks.

    `host_addresses`, if given, are the addresses to listen on instead of all of the machine's but loopback.
    Raises `ValueError` for one that is not an IP address.
    """
    module = vars(aioice.ice)
    module["StunProtocol"] = GuardedStunProtocol
    module["CONSENT_INTERVAL"] = CONSENT_INTERVAL_S
    module["CONSENT_FAILURES"] = CONSENT_FAILURES
    chosen = [ipaddress.ip_address(address) for address in host_addresses]

    def addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        named = [str(address) for address in chosen if (use_ipv4 if address.version == 4 else use_ipv6)]
        return named or _machine_addresses(use_ipv4, use_ipv6) or [LOOPBACK]

    module["get_host_addresses"] = addresses
