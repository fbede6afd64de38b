"""HTTP: webhooks as Standard Webhooks defines them (https://www.standardwebhooks.com); `events` is what they carry."""

from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from broker.protocol.events import EventType
from broker.protocol.keys import DEFAULT_OVERLAP_S, Label, OverlapSeconds, RoomPrefix
from broker.protocol.listing import PageQuery
from broker.protocol.terms import Identifier, Message

MAX_REDELIVERED = 500
WebhookUrl = Annotated[str, Meta(min_length=8, max_length=1024)]
EventTypes = Annotated[list[EventType], Meta(min_length=1, max_length=32)]


class WebhookCreate(Message, frozen=True):
    """Body of `POST /v1/webhooks`. With a `room_prefix` it is told of those rooms only, and not of the fleet."""

    url: WebhookUrl
    events: EventTypes
    name: Label = "webhook"
    room_prefix: RoomPrefix = ""
    enabled: bool = True


class WebhookPatch(Message, frozen=True):
    """Body of `PATCH /v1/webhooks/{webhook}`; absent keys stay as they are. What waits is tried at once."""

    url: WebhookUrl | UnsetType = UNSET
    events: EventTypes | UnsetType = UNSET
    name: Label | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    """While false nothing new is noted for it, and what waits goes on waiting."""


class Webhook(Message, frozen=True):
    """A webhook without its secret. Times are RFC 3339, UTC."""

    webhook: Identifier
    name: str
    url: str
    events: list[EventType]
    room_prefix: str
    enabled: bool
    disabled_reason: str
    created_at: str
    created_by: str
    previous_secret_until: str | None
    """Until when the secret before the last rotation signs too; null if it does not."""
    waiting: int
    """Events that wait or are tried again."""
    dead_letters: int
    dropped: int
    """Dead letters that had to go because there were too many, since this broker leads."""


class WebhookGrant(Message, frozen=True):
    """A webhook with its secret (`whsec_...`), which is shown this once."""

    webhook: Webhook
    secret: str


class WebhookList(Message, frozen=True):
    """Answer of `GET /v1/webhooks`."""

    webhooks: list[Webhook]


class WebhookRotate(Message, frozen=True):
    """Body of `POST /v1/webhooks/{webhook}/rotate`: for how long both secrets sign."""

    overlap_s: OverlapSeconds = DEFAULT_OVERLAP_S


class WebhookTestResult(Message, frozen=True):
    """Answer of `POST /v1/webhooks/{webhook}/test`: one attempt, not repeated."""

    delivered: bool
    status: int | None
    """What the receiver answered; null if it did not."""
    error: str
    duration_ms: float


class DeliveryState(StrEnum):
    """Where an event for a webhook stands; one that was taken is forgotten."""

    WAITING = "waiting"
    DEAD = "dead"


class DeliveryQuery(PageQuery, frozen=True):
    """Query of `GET /v1/webhooks/{webhook}/deliveries`."""

    state: DeliveryState | UnsetType = UNSET


class Delivery(Message, frozen=True):
    """An event for a webhook. `delivery` is its `webhook-id`, the same for every attempt."""

    delivery: Identifier
    event: EventType
    room: str
    state: DeliveryState
    body: str
    created_at: str
    attempts: int
    next_attempt_at: str | None
    """Not before this, and after those of its room before it; null for a dead letter."""
    last_error: str


class DeliveryList(Message, frozen=True):
    """Answer of `GET /v1/webhooks/{webhook}/deliveries`, in the order of events."""

    deliveries: list[Delivery]
    next_cursor: str | UnsetType = UNSET


class RedeliverRequest(Message, frozen=True):
    """Body of `POST /v1/webhooks/{webhook}/redeliver`: dead letters to send again; no ids: all.

    What waits for its next attempt is tried at once too.
    """

    deliveries: Annotated[list[Identifier], Meta(max_length=MAX_REDELIVERED)] = []


class RedeliverResult(Message, frozen=True):
    """How many dead letters are on their way again."""

    redelivered: int
