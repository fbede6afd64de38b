"""HTTP: what hosts and operators do to a whole room, and moving a participant to another one."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from broker.protocol.terms import Identifier, Message, Role

MAX_ADDRESSED = 500
"""Most participants one call names."""
MAX_DATA_CHARACTERS = 1000
"""Stops one call from filling a thousand viewers' data channels: at most 4 kB each in UTF-8."""

Roles = Annotated[tuple[Role, ...], Meta(max_length=len(Role))]
Participants = Annotated[list[Identifier], Meta(max_length=MAX_ADDRESSED)]
DataText = Annotated[str, Meta(min_length=1, max_length=MAX_DATA_CHARACTERS)]


class MuteAll(Message, frozen=True):
    """Body of `POST /v1/rooms/{room}/mute`: everybody but these roles and participants."""

    muted: bool = True
    except_roles: Roles = (Role.HOST,)
    except_participants: Participants = []


class MutedParticipants(Message, frozen=True):
    """Answer: how many this changed."""

    changed: int


class DataMessage(Message, frozen=True):
    """Body of `POST /v1/rooms/{room}/data`: text for the clients of a room; all conditions must hold.

    The topic `notice` is shown to people; programs use topics of their own.
    """

    text: DataText
    topic: Identifier = "notice"
    to: Annotated[Participants, Meta(min_length=1)] | UnsetType = UNSET
    roles: Annotated[Roles, Meta(min_length=1)] | UnsetType = UNSET


class DataSent(Message, frozen=True):
    """Answer: how many connected participants it was sent to."""

    participants: int


class MoveRequest(Message, frozen=True):
    """Body of `POST /v1/rooms/{room}/participants/{participant}/move`."""

    to: Identifier


class MoveStarted(Message, frozen=True):
    """Answer: a place is kept in room `to` until `expires_at` (RFC 3339, UTC), and the client has been told."""

    participant: Identifier
    room: Identifier
    to: Identifier
    expires_at: str
