"""Logs are read by more people than tokens and names are meant for."""

import asyncio

from structlog.testing import capture_logs

from tests.support.broker_server import API_KEY, running_broker

STORE_THAT_REFUSES = "redis://127.0.0.1:1/0"
NAME, IDENTITY = "Ada Lovelace", "ada-lovelace"


async def test_logs_hold_no_tokens_keys_or_names() -> None:
    with capture_logs() as logs:
        async with running_broker() as api:
            await api.ok("POST", "/v1/rooms", {"room": "demo"})
            await api.edge()
            await api.node()
            join_token = await api.join_token(display_name=NAME, identity=IDENTITY)
            grant = await api.ok("POST", "/v1/rooms/demo/join", {}, token=join_token)
            await api.problem("POST", "/v1/rooms/demo/join", {}, token=join_token)
            await api.problem("GET", "/v1/rooms", token=join_token)
            await api.ok("DELETE", f"/v1/rooms/demo/participants/{grant['participant']}")
    assert any(entry["event"] == "session placed" for entry in logs)
    written = repr(logs)
    for secret in (NAME, IDENTITY, API_KEY, join_token, grant["session_token"]):
        assert secret not in written


async def test_store_that_never_answered_is_named_once() -> None:
    with capture_logs() as logs:
        async with running_broker(store_url=STORE_THAT_REFUSES, store_probe_interval_s=0.05):
            await asyncio.sleep(0.5)
    told = [entry for entry in logs if entry["event"] == "store"]
    assert [entry["ready"] for entry in told] == [False]
    assert "127.0.0.1:1" in told[0]["why"]
