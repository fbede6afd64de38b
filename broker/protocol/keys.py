"""HTTP: API keys, their scopes, limits and rotation."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from broker.protocol.terms import Identifier, Message

MAX_KEY_OVERLAP_S = 2_592_000
"""Thirty days: a secret that was replaced because it leaked must not stay good for ever."""
DEFAULT_OVERLAP_S = 86_400.0


class Scope(StrEnum):
    """What an API key may do. `write` does not include `read`."""

    ROOMS_READ = "rooms:read"
    ROOMS_WRITE = "rooms:write"
    PARTICIPANTS_READ = "participants:read"
    PARTICIPANTS_WRITE = "participants:write"
    TOKENS_WRITE = "tokens:write"
    FLEET_READ = "fleet:read"
    FLEET_WRITE = "fleet:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    USAGE_READ = "usage:read"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    AUDIT_READ = "audit:read"


Label = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]
"""A name people give to a key or webhook: one line, not empty."""
RoomPrefix = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]{0,47})?$(?!\n)")]
"""What the names of rooms must begin with; empty allows all. Shorter than a name, so that names can be made of it."""
RequestsPerMinute = Annotated[float, Meta(gt=0, le=1_000_000)]
OverlapSeconds = Annotated[float, Meta(ge=0, le=MAX_KEY_OVERLAP_S)]


class ApiKeyCreate(Message, frozen=True):
    """Body of `POST /v1/api-keys`. The key gets no scope, and no rooms, that the one who makes it has not."""

    name: Label
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=32)]
    room_prefix: RoomPrefix = ""
    expires_in_s: Annotated[float, Meta(gt=0, le=315_360_000)] | None = None
    """Seconds from now; absent: it does not expire."""
    requests_per_minute: RequestsPerMinute | None = None
    """Absent: `broker.key_requests_per_minute`."""
    max_rooms: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    """How many rooms it may have at a time; absent: `broker.key_max_rooms`."""


class ApiKey(Message, frozen=True):
    """An API key without its secret. Times are RFC 3339, UTC; `last_used_at` is exact to a minute."""

    key: Identifier
    name: str
    scopes: list[Scope]
    room_prefix: str
    requests_per_minute: float
    max_rooms: int
    rooms: int
    """How many rooms it has now."""
    created_at: str
    created_by: str
    expires_at: str | None
    rotated_at: str | None
    previous_secret_until: str | None
    """Until when the secret before the last rotation is good; null if it is not."""
    last_used_at: str | None


class ApiKeyGrant(Message, frozen=True):
    """An API key with its secret, which is shown this once and kept nowhere."""

    api_key: ApiKey
    secret: str


class ApiKeyList(Message, frozen=True):
    """Answer of `GET /v1/api-keys`."""

    api_keys: list[ApiKey]


class RotateRequest(Message, frozen=True):
    """Body of `POST .../rotate`: for how long the former secret stays good beside the new one."""

    overlap_s: OverlapSeconds = DEFAULT_OVERLAP_S
