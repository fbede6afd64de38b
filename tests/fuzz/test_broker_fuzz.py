"""Whatever is sent, the broker answers 2xx or 4xx, closes what misbehaves, and serves the next one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker import protocol
from broker.core.refusals import Refusal
from broker.core.validation import validate_state
from broker.protocol import decode_agent_message
from broker.protocol.report_batch import MalformedReports, batch_of, decode_reports
from broker.tokens import TokenAuthority, TokenRefused, TokenVerifier
from tests.support.broker_farm import Farm, edge_key, node_key
from tests.support.broker_server import API_KEY, Agent, Api, running_broker

SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=80)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner))
KEYS = sorted(
    {
        field.encode_name
        for kind in (protocol.RoomCreate, protocol.JoinRequest, protocol.TokenRequest, protocol.DrainRequest)
        for field in msgspec.structs.fields(kind)
    }
)
NEARLY_RIGHT = st.dictionaries(
    st.sampled_from(KEYS), JSON | st.sampled_from(["demo", "explore", "host", 10, True, [], {}]), max_size=6
)
BODIES = st.one_of(
    st.binary(max_size=300),
    JSON.map(lambda value: msgspec.json.encode(_finite(value))),
    NEARLY_RIGHT.map(lambda value: msgspec.json.encode(_finite(value))),
)
ENDPOINTS = [
    ("POST", "/v1/rooms"),
    ("PATCH", "/v1/rooms/demo"),
    ("POST", "/v1/rooms/demo/tokens"),
    ("POST", "/v1/rooms/demo/join"),
    ("POST", "/v1/nodes/n1/drain"),
    ("POST", "/v1/sessions/s/resume"),
    ("PATCH", "/v1/rooms/demo/participants/p"),
    ("PUT", "/v1/templates/t"),
    ("POST", "/v1/rooms/demo/mute"),
    ("POST", "/v1/rooms/demo/data"),
    ("POST", "/v1/rooms/demo/participants/p/move"),
    ("POST", "/v1/rooms/demo/waiting/admit"),
    ("POST", "/v1/rooms/demo/waiting/refuse"),
    ("POST", "/v1/rooms/demo/waiting/t-1/join"),
]
ACCEPTABLE_5XX = {503}
"""No edge, no node, farm full: refusals that name a time to retry, not faults."""

BOUNDED = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _finite(value: Any) -> Any:
    """Integers beyond 64 bits as text: the encoder has no others."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_broker(guest_joins_per_minute=1e9) as api:
        await api.ok("POST", "/v1/rooms", {"room": "demo", "open": True})
        yield api


def run(awaitable: Any, api: Api) -> Any:
    """Run on the loop of the fixture from inside a Hypothesis test that runs in a worker thread."""
    return asyncio.run_coroutine_threadsafe(awaitable, api.client._loop).result(20)


async def test_no_body_makes_the_broker_fail(api):
    @BOUNDED
    @given(st.sampled_from(ENDPOINTS), BODIES, st.sampled_from([None, API_KEY, "x.y.z"]))
    def attack(endpoint, body, token):
        status, _, _ = run(api.call(*endpoint, raw=body, token=token), api)
        assert status < 500 or status in ACCEPTABLE_5XX

    await asyncio.to_thread(attack)
    assert await api.metric("farstage_faults_total") == 0


async def test_no_path_makes_the_broker_fail(api):
    @BOUNDED
    @given(st.text(alphabet="ab/.%~-_{}0123456789äé漢", max_size=60))
    def attack(path):
        status, _, _ = run(api.call("GET", "/v1/rooms/" + path), api)
        assert status < 500

    await asyncio.to_thread(attack)


async def test_no_query_makes_the_broker_fail(api):
    names = st.sampled_from(["limit", "cursor", "mode", "open", "metadata", "node", "state", "x"])
    values = st.text(max_size=40) | st.sampled_from(["1", "true", "explore", "WyJyb29tcyIsImEiXQ"])

    @BOUNDED
    @given(st.sampled_from(["rooms", "sessions", "rooms/demo/participants"]), st.lists(st.tuples(names, values)))
    def attack(path, query):
        status, _, _ = run(api.call("GET", f"/v1/{path}?{urlencode(query, errors='replace')}"), api)
        assert status in (200, 400)

    await asyncio.to_thread(attack)


MESSAGES = st.one_of(
    st.text(max_size=200),
    JSON.map(lambda value: msgspec.json.encode(_finite(value)).decode()),
    st.builds(
        lambda kind, rest: msgspec.json.encode(_finite({"type": kind} | rest)).decode(),
        st.sampled_from(["register_node", "node_heartbeat", "view_started", "viewer_gone", "viewer_reports", "x"]),
        st.dictionaries(st.sampled_from(["view", "fence", "session", "reason", "reports", "load", "node"]), JSON),
    ),
)


async def test_no_control_message_makes_the_broker_fail(api):
    async def send(message: str) -> None:
        agent = await api.node("n1")
        await agent.socket.send_str(message)
        await agent.socket.close()

    @BOUNDED
    @given(MESSAGES)
    def attack(message):
        run(send(message), api)

    await asyncio.to_thread(attack)
    survivor: Agent = await api.node("n2")
    assert not survivor.socket.closed
    assert await api.metric("farstage_faults_total") == 0


IDS = st.sampled_from(["s1", "s2", "p1", "v1", "v2", "demo", "other"])
AGENT_MESSAGES = st.one_of(
    st.builds(protocol.ViewStarted, view=IDS, fence=st.integers(0, 9)),
    st.builds(protocol.ViewFailed, view=IDS, fence=st.integers(0, 9), reason=st.just("x")),
    st.builds(protocol.ViewerConnected, session=IDS),
    st.builds(protocol.ViewerGone, session=IDS, reason=st.sampled_from(protocol.EndReason)),
    st.builds(protocol.ParticipantChanged, room=IDS, participant=IDS, hand_raised=st.booleans()),
    st.builds(
        batch_of,
        st.lists(st.builds(protocol.ViewerReport, session=IDS), max_size=3),
        st.integers(0, 9),
        st.floats(990.0, 1010.0),
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([node_key("n1"), edge_key("e1")]), AGENT_MESSAGES), max_size=25))
def test_no_lie_of_an_agent_makes_the_state_invalid(messages):
    farm = Farm()
    farm.node("n1")
    farm.node("n2")
    farm.edge("e1")
    farm.room("demo")
    farm.join()
    farm.join()
    for key, message in messages:
        try:
            farm.say(key, message)
        except Refusal:
            validate_state(farm.state)


@given(st.binary(max_size=400))
def test_the_agent_message_parser_only_ever_refuses(data):
    with contextlib.suppress(msgspec.MsgspecError, UnicodeError):
        decode_agent_message(data)


_AUTHORITY = TokenAuthority(b"0123456789abcdef0123456789abcdef")
_VERIFIER = TokenVerifier(_AUTHORITY.public_key_pem)
_TOKEN = _AUTHORITY.mint("farstage:join", "alice", 600, 1_900_000_000.0, room="demo", role="visitor")


@given(st.integers(0, len(_TOKEN) - 1), st.characters(min_codepoint=33, max_codepoint=126))
def test_a_token_changed_anywhere_in_its_signed_part_is_refused(position, character):
    signed = _TOKEN.rpartition(".")[0]
    position %= len(signed)
    if signed[position] == character:
        return
    changed = signed[:position] + character + _TOKEN[position + 1 :]
    with pytest.raises(TokenRefused):
        _VERIFIER.verify(changed, "farstage:join", 1_900_000_001.0)


REPORTS = batch_of([protocol.ViewerReport(session="s1", rtt_ms=5.0), protocol.ViewerReport(session="s2")], 1, 0.0)


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=400),
        st.binary(max_size=200).map(lambda tail: REPORTS.encode()[:24] + tail),
        st.tuples(st.integers(0, len(REPORTS.encode()) - 1), st.integers(0, 255)).map(
            lambda change: REPORTS.encode()[: change[0]] + bytes([change[1]]) + REPORTS.encode()[change[0] + 1 :]
        ),
    )
)
def test_reports_are_read_whole_or_refused_and_never_harm_what_is_known(data: bytes) -> None:
    farm = Farm()
    farm.edge("e1")
    farm.node("n1")
    farm.room("demo")
    session = farm.join_live()
    farm.report(session, rtt_ms=20.0)
    with contextlib.suppress(MalformedReports):
        farm.say(edge_key("e1"), decode_reports(data))
    report = farm.state.telemetry.report(session.session)
    assert report is not None
    msgspec.json.decode(msgspec.json.encode(report), type=protocol.ViewerReport)
