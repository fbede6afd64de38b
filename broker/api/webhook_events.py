"""How what the core decides becomes an event that webhooks are told of."""

from dataclasses import dataclass

from broker.core.effects import (
    AgentDrained,
    AgentKey,
    AgentKind,
    AgentLost,
    Effect,
    Knocked,
    ParticipantJoined,
    RoomClosed,
    RoomCreated,
    SessionEnded,
)
from broker.protocol import (
    DepartedData,
    EdgeData,
    EdgeDrainedEvent,
    EdgeLostEvent,
    EventType,
    NodeData,
    NodeDrainedEvent,
    NodeLostEvent,
    ParticipantData,
    ParticipantJoinedEvent,
    ParticipantLeftEvent,
    ParticipantWaitingEvent,
    RoomClosedEvent,
    RoomCreatedEvent,
    RoomEventData,
    WebhookEvent,
)

TOLD = (RoomCreated, RoomClosed, ParticipantJoined, Knocked, SessionEnded, AgentLost, AgentDrained)
"""The effects that may become an event; most do not."""


@dataclass(frozen=True, slots=True)
class Telling:
    """An event and what it is about; the fleet's have no room."""

    event: EventType
    room: str
    body: WebhookEvent


def telling(effect: Effect, timestamp: str) -> Telling | None:
    """The event of an effect that happened at `timestamp` (RFC 3339), if webhooks are told of it."""
    match effect:
        case RoomCreated(room):
            return _of_room(room, RoomCreatedEvent(timestamp=timestamp, data=RoomEventData(room=room)))
        case RoomClosed(room):
            return _of_room(room, RoomClosedEvent(timestamp=timestamp, data=RoomEventData(room=room)))
        case ParticipantJoined(who):
            return _of_room(who.room, ParticipantJoinedEvent(timestamp=timestamp, data=who))
        case Knocked(waiting):
            return _of_room(waiting.room, ParticipantWaitingEvent(timestamp=timestamp, data=waiting))
        case SessionEnded(participant=ParticipantData() as who):
            return _of_room(who.room, ParticipantLeftEvent(timestamp=timestamp, data=_departed(effect, who)))
        case AgentLost(agent):
            return _of_fleet(_lost(agent, timestamp))
        case AgentDrained(agent):
            return _of_fleet(_drained(agent, timestamp))
        case _:
            return None


def _departed(ended: SessionEnded, who: ParticipantData) -> DepartedData:
    return DepartedData(
        room=who.room,
        participant=who.participant,
        session=who.session,
        identity=who.identity,
        role=who.role,
        reason=ended.reason,
        usage=ended.usage,
    )


def _lost(agent: AgentKey, timestamp: str) -> NodeLostEvent | EdgeLostEvent:
    if agent.kind is AgentKind.NODE:
        return NodeLostEvent(timestamp=timestamp, data=NodeData(node=agent.name))
    return EdgeLostEvent(timestamp=timestamp, data=EdgeData(edge=agent.name))


def _drained(agent: AgentKey, timestamp: str) -> NodeDrainedEvent | EdgeDrainedEvent:
    if agent.kind is AgentKind.NODE:
        return NodeDrainedEvent(timestamp=timestamp, data=NodeData(node=agent.name))
    return EdgeDrainedEvent(timestamp=timestamp, data=EdgeData(edge=agent.name))


def _of_room(room: str, body: WebhookEvent) -> Telling:
    return Telling(_type_of(body), room, body)


def _of_fleet(body: WebhookEvent) -> Telling:
    return Telling(_type_of(body), "", body)


def _type_of(body: WebhookEvent) -> EventType:
    return EventType(str(body.__struct_config__.tag))
