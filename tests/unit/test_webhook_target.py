"""Where webhooks may go: spellings of inner addresses, what the configuration allows, and any text at all."""

import ipaddress
import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.api.client_address import parse_networks
from broker.api.webhook_target import TargetGuard, TargetRefused

STRICT = TargetGuard()
INSIDE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "2001:0:7f00:1::",
]
PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8", "64:ff9b::808:808"]


def info(address: str) -> tuple[int, int, int, str, tuple[str, int]]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 443)


@pytest.mark.parametrize("address", INSIDE)
def test_an_inner_address_is_refused_in_the_url_and_at_the_socket(address):
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(TargetRefused):
        STRICT.check_url(f"https://{host}/hook")
    with pytest.raises(TargetRefused):
        STRICT.make_socket(info(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address):
    STRICT.check_url(f"https://[{address}]/" if ":" in address else f"https://{address}/")
    STRICT.check_address(ipaddress.ip_address(address))
    STRICT.make_socket(info(address)).close()


@pytest.mark.parametrize("spelling", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "localhost", "example.org", ""])
def test_at_the_socket_only_an_address_in_its_usual_form_counts(spelling):
    with pytest.raises(TargetRefused, match="not an address"):
        STRICT.make_socket(info(spelling))


def test_networks_of_the_configuration_are_allowed_and_no_others():
    guard = TargetGuard(parse_networks(["10.0.0.0/8", "fd00::/8"]))
    guard.check_url("https://10.1.2.3/")
    guard.check_url("https://[fd00::1]/")
    guard.check_url("https://[::ffff:10.1.2.3]/")
    for inside in ("https://192.168.0.1/", "https://127.0.0.1/", "https://[::ffff:127.0.0.1]/"):
        with pytest.raises(TargetRefused, match="webhook_networks"):
            guard.check_url(inside)


def test_http_is_allowed_by_the_configuration_only():
    with pytest.raises(TargetRefused, match="https"):
        STRICT.check_url("http://example.org/")
    TargetGuard(allows_http=True).check_url("http://example.org/")
    for other in ("ftp://example.org/", "file:///etc/passwd", "javascript:1", "//example.org/", "example.org"):
        with pytest.raises(TargetRefused, match="scheme"):
            TargetGuard(allows_http=True).check_url(other)


@given(st.text(max_size=60) | st.text(max_size=40).map(lambda text: f"https://{text}"))
def test_no_text_but_an_https_url_is_allowed_or_fails_otherwise(text):
    with suppress(TargetRefused):
        STRICT.check_url(text)
        assert text.lower().startswith("https://")


@given(st.ip_addresses())
def test_no_address_that_is_not_global_passes(address):
    try:
        STRICT.check_address(address)
    except TargetRefused:
        return
    inner = getattr(address, "ipv4_mapped", None) or address
    forbidden = (inner.is_loopback, inner.is_link_local, inner.is_multicast, inner.is_unspecified)
    assert not any(forbidden)
