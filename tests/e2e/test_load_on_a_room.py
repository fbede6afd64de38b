"""The load generator as an audience of our own rooms."""

import json

from client_demo.headless.api import BrokerClient
from farstage.farm import Farm
from tests.e2e.test_command_line import run


async def test_guests_fill_a_room_see_its_stage_and_leave_it(farm: Farm) -> None:
    arguments = ["--room", "hall", "--broker", farm.broker_url, "--viewers", "4", "--seconds", "4", "--decode", "1"]
    code, output, errors = await run("loadtest", *arguments, "--verify", "1", "--json")
    assert code == 0, errors
    report = json.loads(output)
    assert (report["joined"], report["failures"]) == (4, {})
    assert report["lost_packets"] == 0
    assert report["verified"]["decodable_pictures"] > 100
    assert report["decoded"]["barcodes"] > 30
    assert (report["decoded"]["crc_failures"], report["decoded"]["frames_lost"]) == (0, 0)
    assert 0 < report["decoded"]["latency_ms"]["p50"] < 2000
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        assert await client.participants("hall") == []


async def test_room_that_is_not_there_is_named(farm: Farm) -> None:
    code, _, errors = await run("loadtest", "--room", "nowhere", "--broker", farm.broker_url, "--viewers", "2")
    assert code == 1
    assert "the broker refused the join: 404" in errors
