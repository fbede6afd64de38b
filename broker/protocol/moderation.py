"""HTTP: what hosts and operators do to a whole room, and moving a participant to another one."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from broker.protocol.terms import Identifier, Message, Role

MAX_ADDRESSED = 500
"""Most participants one call names."""
MAX_DATA_BYTES = 4096
"""Stops one call from filling a thousand viewers' data channels."""
MAX_DATA_DEPTH = 32
"""Stops data from being nested more deeply than every receiver's parser goes."""

Roles = Annotated[tuple[Role, ...], Meta(min_length=1, max_length=len(Role))]
Participants = Annotated[list[Identifier], Meta(max_length=MAX_ADDRESSED)]
Binary = Annotated[bytes, Meta(max_length=MAX_DATA_BYTES)]


class MuteAll(Message, frozen=True):
    """Body of `POST /v1/rooms/{room}/mute`: everybody of these roles, but not these participants."""

    muted: bool = True
    roles: Roles = (Role.SPEAKER, Role.VISITOR, Role.SPECTATOR)
    except_participants: Participants = []


class MutedParticipants(Message, frozen=True):
    """Answer: how many this changed."""

    changed: int


class DataMessage(Message, frozen=True):
    """Body of `POST /v1/rooms/{room}/data`: `value` (JSON) or `binary` (base64) for clients of a room.

    Of `to` and `roles` both must hold. A text under the topic `notice` is shown to people by our pages; programs use
    topics of their own.
    """

    topic: Identifier = "notice"
    value: Any = UNSET
    binary: Binary | UnsetType = UNSET
    to: Annotated[Participants, Meta(min_length=1)] | UnsetType = UNSET
    roles: Roles | UnsetType = UNSET


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
