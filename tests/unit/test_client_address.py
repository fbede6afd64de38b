"""Whom limits apply to: forged `X-Forwarded-For` entries change nothing."""

import pytest

from broker.api.client_address import MAX_HOPS, client_address, parse_networks
from tests.support.broker_server import running_broker

TRUSTED = parse_networks(["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["2001:db8::5"], "2001:db8::5"),
        ("", ["198.51.100.1"], ""),
    ],
    ids=lambda value: str(value) or "none",
)
def test_only_what_trusted_proxies_appended_is_believed(peer, forwarded, address):
    assert client_address(peer, forwarded, TRUSTED) == address


def test_without_trusted_proxies_the_header_is_never_believed():
    assert client_address("10.0.0.1", ["198.51.100.1"], ()) == "10.0.0.1"


def test_an_endless_chain_is_read_only_so_far():
    chain = ", ".join(["198.51.100.1", *["10.0.0.2"] * MAX_HOPS])
    assert client_address("10.0.0.1", [chain], TRUSTED) == "10.0.0.2"


async def _guest(api, forwarded_for: str) -> int:
    path = f"{api.base}/v1/rooms/demo/join"
    headers = {"X-Forwarded-For": forwarded_for}
    async with api.client.post(path, json={"display_name": "G"}, headers=headers) as response:
        return response.status


async def test_a_guest_cannot_escape_the_limit_by_inventing_addresses():
    async with running_broker(guest_joins_per_minute=2) as api:
        await api.ok("POST", "/v1/rooms", {"room": "demo", "open": True})
        assert [await _guest(api, f"198.51.100.{n}") for n in range(3)] == [503, 503, 429]


async def test_guests_behind_a_trusted_proxy_are_limited_one_by_one():
    async with running_broker(guest_joins_per_minute=1, trusted_proxies=("127.0.0.0/8",)) as api:
        await api.ok("POST", "/v1/rooms", {"room": "demo", "open": True})
        assert [await _guest(api, f"198.51.100.{n}") for n in (1, 2, 1)] == [503, 503, 429]
        assert await _guest(api, "198.51.100.9, 198.51.100.2") == 429, "what stands left of the proxy's entry is forged"
