"""Which events the core's decisions become, over a farm in virtual time."""

from typing import Any

import msgspec
import pytest

from broker.api.webhook_events import telling
from broker.protocol import EndReason, EventType, Role, ViewerConnected, WebhookEvent, decode_event, encode
from tests.support.broker_farm import Farm, edge_key, node_key


class ToldFarm(Farm):
    """Keeps the events its effects become, in order."""

    told: list[WebhookEvent]

    def carry_out(self, effects):
        done = super().carry_out(effects)
        told = [made for effect in done if (made := telling(effect, "2030-01-01T00:00:00Z")) is not None]
        for made in told:
            body = decode_event(encode(made.body))
            assert body == made.body
            assert made.room == getattr(body.data, "room", "")
            assert EventType(made.event).value == msgspec.to_builtins(body)["type"]
        self.told += [made.body for made in told]
        return done

    def types(self) -> list[str]:
        return [event.__struct_config__.tag for event in self.told]

    def last(self) -> Any:
        return self.told[-1].data


@pytest.fixture
def farm() -> ToldFarm:
    farm = ToldFarm()
    farm.told = []
    farm.node("n1")
    farm.edge("e1")
    farm.room()
    return farm


def test_a_participant_is_told_once_when_connected_and_once_when_gone(farm):
    session = farm.join_live(role=Role.HOST)
    farm.say(edge_key("e1"), ViewerConnected(session=session.session))
    assert farm.types() == ["room.created", "participant.joined"]
    assert (farm.last().participant, farm.last().identity, farm.last().role) == ("p1", "i1", Role.HOST)
    farm.carry_out(farm.brain.meter(farm.now, "2030-01-01"))
    farm.now += 5
    farm.carry_out(farm.brain.meter(farm.now, "2030-01-01"))
    farm.carry_out(farm.brain.end_session(session.session, EndReason.REMOVED))
    assert farm.types()[2:] == ["participant.left"]
    assert farm.last().reason is EndReason.REMOVED
    assert farm.last().usage.participant_s == pytest.approx(5.0)


def test_who_never_connected_neither_joined_nor_left(farm):
    session = farm.join()
    farm.carry_out(farm.brain.end_session(session.session, EndReason.LEFT))
    assert farm.types() == ["room.created"]


def test_a_room_is_closed_after_everybody_left(farm):
    farm.join_live()
    farm.join_live()
    farm.carry_out(farm.brain.close_room("demo"))
    assert farm.types()[-3:] == ["participant.left", "participant.left", "room.closed"]


def test_a_room_that_was_empty_for_too_long_is_told_as_closed(farm):
    farm.wait(301)
    assert farm.types() == ["room.created", "room.closed"]


def test_who_waits_is_told_once(farm):
    farm.room("quiet", waiting_room=True)
    farm.knock("quiet", token_id="t")
    farm.knock("quiet", token_id="t")
    assert farm.types()[2:] == ["participant.waiting"]
    assert (farm.last().room, farm.last().identity) == ("quiet", "i1")


def test_lost_and_drained_agents_are_told(farm):
    farm.node("n2")
    farm.wait(60, silent=[node_key("n1")])
    assert farm.types()[-1] == "node.lost"
    assert farm.last().node == "n1"
    farm.carry_out(farm.brain.drain(node_key("n2"), 10.0, farm.now))
    farm.carry_out(farm.brain.drain(edge_key("e1"), 10.0, farm.now))
    farm.wait(1)
    assert set(farm.types()[-2:]) == {"node.drained", "edge.drained"}
    farm.edge("e2")
    farm.wait(60, silent=[edge_key("e2")])
    assert farm.types()[-1] == "edge.lost"
