"""What webhooks carry. `type` names the event, `timestamp` is when it happened (RFC 3339, UTC).

Ids, roles and reasons only: `identity` is what the operator wrote into the join token, and no name that people gave
themselves is among these. Keys may be added to `data`; a receiver passes over those it does not know.
"""

from enum import StrEnum

import msgspec
from msgspec import Struct

from broker.protocol.terms import EndReason, Role
from broker.protocol.usage import Usage


class EventType(StrEnum):
    """What a webhook can be told of."""

    ROOM_CREATED = "room.created"
    ROOM_CLOSED = "room.closed"
    PARTICIPANT_JOINED = "participant.joined"
    PARTICIPANT_LEFT = "participant.left"
    PARTICIPANT_WAITING = "participant.waiting"
    NODE_LOST = "node.lost"
    NODE_DRAINED = "node.drained"
    EDGE_LOST = "edge.lost"
    EDGE_DRAINED = "edge.drained"


TEST_EVENT = "webhook.test"
"""Sent when an operator asks for a test, to webhooks of all kinds."""


class RoomEventData(Struct, frozen=True, kw_only=True):
    """A room."""

    room: str


class ParticipantData(Struct, frozen=True, kw_only=True):
    """A participant of a room."""

    room: str
    participant: str
    session: str
    identity: str
    role: Role


class DepartedData(ParticipantData, frozen=True, kw_only=True):
    """A participant who is gone: why, and what their session used."""

    reason: EndReason
    usage: Usage


class WaitingData(Struct, frozen=True, kw_only=True):
    """Somebody before the door of a room."""

    room: str
    ticket: str
    identity: str
    role: Role


class NodeData(Struct, frozen=True, kw_only=True):
    """A render node."""

    node: str


class EdgeData(Struct, frozen=True, kw_only=True):
    """An edge."""

    edge: str


class WebhookData(Struct, frozen=True, kw_only=True):
    """The webhook that is tested."""

    webhook: str


class _Event(Struct, frozen=True, kw_only=True, tag_field="type"):
    timestamp: str


class RoomCreatedEvent(_Event, frozen=True, tag=EventType.ROOM_CREATED.value):
    """There is a new room."""

    data: RoomEventData


class RoomClosedEvent(_Event, frozen=True, tag=EventType.ROOM_CLOSED.value):
    """A room is gone; `participant.left` of those who were in it came before."""

    data: RoomEventData


class ParticipantJoinedEvent(_Event, frozen=True, tag=EventType.PARTICIPANT_JOINED.value):
    """Somebody's viewer or publisher is connected for the first time."""

    data: ParticipantData


class ParticipantLeftEvent(_Event, frozen=True, tag=EventType.PARTICIPANT_LEFT.value):
    """One who had joined is gone."""

    data: DepartedData


class ParticipantWaitingEvent(_Event, frozen=True, tag=EventType.PARTICIPANT_WAITING.value):
    """Somebody waits to be let in."""

    data: WaitingData


class NodeLostEvent(_Event, frozen=True, tag=EventType.NODE_LOST.value):
    """A render node was taken for dead."""

    data: NodeData


class NodeDrainedEvent(_Event, frozen=True, tag=EventType.NODE_DRAINED.value):
    """A render node that was being drained is empty."""

    data: NodeData


class EdgeLostEvent(_Event, frozen=True, tag=EventType.EDGE_LOST.value):
    """An edge was taken for dead."""

    data: EdgeData


class EdgeDrainedEvent(_Event, frozen=True, tag=EventType.EDGE_DRAINED.value):
    """An edge that was being drained is empty."""

    data: EdgeData


class WebhookTestEvent(_Event, frozen=True, tag=TEST_EVENT):
    """An operator asked for it."""

    data: WebhookData


WebhookEvent = (
    RoomCreatedEvent
    | RoomClosedEvent
    | ParticipantJoinedEvent
    | ParticipantLeftEvent
    | ParticipantWaitingEvent
    | NodeLostEvent
    | NodeDrainedEvent
    | EdgeLostEvent
    | EdgeDrainedEvent
    | WebhookTestEvent
)

_decoder: msgspec.json.Decoder[WebhookEvent] = msgspec.json.Decoder(WebhookEvent)


def decode_event(body: bytes | str) -> WebhookEvent:
    """The event in a webhook's body, once its signature was verified. Raises `msgspec.MsgspecError`."""
    return _decoder.decode(body)
