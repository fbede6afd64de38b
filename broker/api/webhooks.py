"""Webhooks: who is told of what. An operator's changes to them, and the queue of what each is to be told."""

import secrets
from collections.abc import Callable, Mapping

from msgspec import UNSET, Struct

from broker.api.client_address import parse_networks
from broker.api.principal import Principal
from broker.api.problems import ApiError
from broker.api.settings import BrokerSettings
from broker.api.shelf import Shelf
from broker.api.timestamps import rfc3339
from broker.api.webhook_deliveries import Deliveries
from broker.api.webhook_events import TOLD, Telling, telling
from broker.api.webhook_signing import Sealer, new_secret
from broker.api.webhook_target import TargetGuard, TargetRefused
from broker.core.effects import Effect
from broker.protocol import EventType, Scope, WebhookCreate, WebhookPatch, encode

MAX_WEBHOOKS = 64
"""Every event is written once for each webhook: stops one key from making the broker write thousands."""
_SCOPES = {
    "room": Scope.ROOMS_READ,
    "participant": Scope.PARTICIPANTS_READ,
    "node": Scope.FLEET_READ,
    "edge": Scope.FLEET_READ,
}
"""What one must be allowed to read to be told of it: nobody sees more through a webhook than without."""


class WebhookRecord(Struct, kw_only=True):
    """A webhook; times are Unix seconds, secrets sealed."""

    webhook: str
    name: str
    url: str
    events: list[EventType]
    room_prefix: str
    sealed_secret: str
    created_at: float
    created_by: str
    enabled: bool = True
    disabled_reason: str = ""
    sealed_previous: str | None = None
    previous_until: float = 0.0

    def wants(self, event: EventType, room: str) -> bool:
        """Whether it is told; one that is limited to rooms is not told of the fleet, which has no room."""
        return self.enabled and event in self.events and room.startswith(self.room_prefix)


class Webhooks(Shelf[WebhookRecord]):
    """All webhooks. What operators change they change under the controller's lock."""

    def __init__(self, settings: BrokerSettings, unix_now: Callable[[], float]) -> None:
        super().__init__("webhooks", WebhookRecord)
        self.deliveries = Deliveries(settings.webhook_retry)
        self.guard = TargetGuard(parse_networks(settings.webhook_networks), settings.webhook_http)
        self.on_change: Callable[[], None] = lambda: None
        """Called when there may be something to deliver."""
        self._sealer = Sealer(settings.secret)
        self._unix_now = unix_now

    # --- Operators' changes -----------------------------------------------------------------------------

    def create(self, wish: WebhookCreate, maker: Principal) -> tuple[WebhookRecord, str]:
        """A new webhook and its secret. Raises `ApiError`."""
        _require_power(maker, wish.events, wish.room_prefix)
        self._require_target(wish.url)
        if len(self.records) >= MAX_WEBHOOKS:
            raise ApiError("too-many-webhooks", 409, "Too many webhooks", f"there are {MAX_WEBHOOKS}; delete one")
        secret = new_secret()
        record = WebhookRecord(
            webhook=f"wh-{secrets.token_hex(8)}",
            name=wish.name,
            url=wish.url,
            events=sorted(set(wish.events)),
            room_prefix=wish.room_prefix,
            sealed_secret=self._sealer.seal(secret),
            created_at=self._unix_now(),
            created_by=maker.key,
            enabled=wish.enabled,
        )
        self._keep(record)
        return record, secret

    def get(self, webhook: str, principal: Principal) -> WebhookRecord:
        """The webhook of this id, if the asker reaches its rooms. Raises `ApiError`."""
        record = self.records.get(webhook)
        if record is None or not principal.reaches(record.room_prefix):
            raise ApiError("webhook-unknown", 404, "No such webhook", f"there is no webhook {webhook[:64]!r}")
        return record

    def get_with_power(self, webhook: str, principal: Principal) -> WebhookRecord:
        """The same for one who may read all that it is told. Raises `ApiError`."""
        record = self.get(webhook, principal)
        _require_power(principal, record.events, record.room_prefix)
        return record

    def patch(self, webhook: str, changes: WebhookPatch, principal: Principal) -> WebhookRecord:
        """Change it, and try at once what waits; switching it on forgets why it was off.

        Raises `ApiError`, and changes nothing.
        """
        record = self.get_with_power(webhook, principal)
        if changes.events is not UNSET:
            _require_power(principal, changes.events, record.room_prefix)
        if changes.url is not UNSET:
            self._require_target(changes.url)
            record.url = changes.url
        if changes.events is not UNSET:
            record.events = sorted(set(changes.events))
        if changes.name is not UNSET:
            record.name = changes.name
        if changes.enabled is not UNSET:
            record.enabled, record.disabled_reason = changes.enabled, "" if changes.enabled else "by an operator"
        self.deliveries.hasten(webhook, self._unix_now())
        self._keep(record)
        return record

    def rotate(self, webhook: str, overlap_s: float, principal: Principal) -> tuple[WebhookRecord, str]:
        """A new secret; both sign for `overlap_s` seconds. Raises `ApiError`."""
        record, secret = self.get_with_power(webhook, principal), new_secret()
        record.sealed_previous, record.previous_until = record.sealed_secret, self._unix_now() + overlap_s
        record.sealed_secret = self._sealer.seal(secret)
        self._keep(record)
        return record, secret

    def disable(self, webhook: str, reason: str) -> None:
        """Switch it off until an operator switches it on; what waits goes on waiting."""
        if (record := self.records.get(webhook)) is not None:
            record.enabled, record.disabled_reason = False, reason
            self._keep(record)

    def delete(self, webhook: str, principal: Principal) -> None:
        """Forget it with all it was to be told. Raises `ApiError`."""
        self.get(webhook, principal)
        self.deliveries.remove(webhook)
        self.drop(webhook)

    def redeliver(self, webhook: str, deliveries: list[str], principal: Principal) -> int:
        """Send dead letters again, and try at once what waits; how many they were. Raises `ApiError`."""
        self.get(webhook, principal)
        self.deliveries.hasten(webhook, self._unix_now())
        redelivered = self.deliveries.redeliver(webhook, deliveries, self._unix_now())
        self.on_change()
        return redelivered

    def signing_secrets(self, record: WebhookRecord) -> list[str]:
        """The secrets that sign now, the newest first. Raises `SecretUnreadable`."""
        opened = [self._sealer.open(record.sealed_secret)]
        if record.sealed_previous is not None and self._unix_now() < record.previous_until:
            opened.append(self._sealer.open(record.sealed_previous))
        return opened

    def restore(self, records: Mapping[str, bytes]) -> None:
        """See `StoredPart.restore`. The deliveries were restored before."""
        super().restore(records)
        for record in self.records.values():
            self._pause(record)
        for orphaned in {record.webhook for record in self.deliveries.records.values()} - set(self.records):
            self.deliveries.remove(orphaned)
        self.on_change()

    def _keep(self, record: WebhookRecord) -> None:
        self.put(record.webhook, record)
        self._pause(record)
        self.on_change()

    def _pause(self, record: WebhookRecord) -> None:
        change = self.deliveries.paused.discard if record.enabled else self.deliveries.paused.add
        change(record.webhook)

    def _require_target(self, url: str) -> None:
        try:
            self.guard.check_url(url)
        except TargetRefused as error:
            raise ApiError("webhook-url-refused", 422, "The webhook's URL is not allowed", str(error)) from error

    # --- What the core decides --------------------------------------------------------------------------

    def observe(self, effect: Effect) -> None:
        """Note an event for whoever wants it."""
        if not self.records or not isinstance(effect, TOLD):
            return
        if (told := telling(effect, rfc3339(self._unix_now()))) is not None:
            self._tell(told)

    def _tell(self, told: Telling) -> None:
        wanting = [record.webhook for record in self.records.values() if record.wants(told.event, told.room)]
        if not wanting:
            return
        body = encode(told.body).decode()
        for webhook in wanting:
            self.deliveries.offer(new_delivery_id(), webhook, told.event, told.room, body, self._unix_now())
        self.on_change()


def _require_power(principal: Principal, events: list[EventType], room_prefix: str) -> None:
    principal.require_power_over(sorted({_SCOPES[event.partition(".")[0]] for event in events}), room_prefix)


def new_delivery_id() -> str:
    """A fresh `webhook-id`: the same for all attempts, so that receivers tell repeats."""
    return f"msg_{secrets.token_hex(12)}"
