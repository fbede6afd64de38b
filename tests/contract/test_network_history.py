"""What networks have shown outlives the broker, over memory and a real Redis; single reports do not enter the store."""

from collections.abc import AsyncIterator

import numpy as np
import pytest

from broker.api import network_history
from broker.api.controller import Controller
from broker.api.settings import BrokerSettings
from broker.core.networks import Networks
from broker.store.interface import Store
from broker.store.memory import MemoryStore
from broker.store.redis import RedisStore
from tests.support.broker_server import API_KEY, SECRET
from tests.support.redis_server import RedisServer

HOME = "203.0.113.0/24"


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    opened = RedisStore(server.url)
    yield opened
    await opened.close()


def visited(networks: Networks, region: str, rtt_ms: float) -> None:
    for _ in range(4):
        pair = np.array([networks.enter(HOME, region)])
        networks.count_sessions(pair, 1.0)
        networks.add(pair, np.array([[rtt_ms, 1.0, 0.0, 2e6]]), 1.0)
        networks.leave(int(pair[0]))


async def broker_over(store: Store) -> Controller:
    controller = Controller(BrokerSettings(secret=SECRET, api_key=API_KEY), store)
    await controller.probe_store()
    return controller


async def test_networks_are_known_to_the_next_broker(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_history, "WRITE_EVERY_S", 0.0)
    first = await broker_over(store)
    visited(first.brain.state.telemetry.networks, "south", 37.0)
    await first.meter()
    second = Controller(BrokerSettings(secret=SECRET, api_key=API_KEY), store)
    await second._restore()
    line = second.brain.state.telemetry.networks.line(HOME, "south")
    assert line is not None
    assert line.rtt_ms == pytest.approx(37.0, rel=0.1)


async def test_what_the_core_has_forgotten_leaves_the_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_history, "WRITE_EVERY_S", 0.0)
    broker = await broker_over(store)
    visited(broker.brain.state.telemetry.networks, "south", 37.0)
    await broker.meter()
    assert len(await store.load("networks")) == 1
    broker.brain.state.telemetry.networks = Networks()
    await broker.meter()
    assert await store.load("networks") == {}
