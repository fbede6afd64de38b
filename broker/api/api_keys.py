"""API keys: made, found by their secret, rotated, withdrawn. A secret is kept as its hash only.

A secret is `fsk_<key>_<43 characters>`: the id leads to the record without a search, the rest are 256 random bits.
So many need no slow hash: SHA-256 cannot be reversed by guessing, and costs microseconds on each request.
"""

import hashlib
import hmac
import secrets
from typing import TypeVar

from msgspec import Struct

from broker.api.principal import Principal
from broker.api.problems import ApiError
from broker.api.settings import BrokerSettings
from broker.api.shelf import Shelf
from broker.protocol import ApiKeyCreate, Scope

SECRET_MARK = "fsk_"
MAX_API_KEYS = 1000
"""Stops a key that makes keys from filling memory and store."""
LAST_USED_STEP_S = 60.0
"""`last_used_at` is as coarse as this: a key in use costs the store one write a minute, and the record is no diary."""
_NO_HASH = hashlib.sha256(b"").hexdigest()

N = TypeVar("N", int, float)


class ApiKeyRecord(Struct, kw_only=True):
    """An API key; times are Unix seconds, hashes SHA-256 in hexadecimal."""

    key: str
    name: str
    scopes: list[Scope]
    room_prefix: str
    secret_hash: str
    created_at: float
    created_by: str
    requests_per_minute: float | None = None
    max_rooms: int | None = None
    expires_at: float | None = None
    rotated_at: float | None = None
    previous_hash: str | None = None
    previous_until: float = 0.0
    last_used_at: float | None = None


class ApiKeys(Shelf[ApiKeyRecord]):
    """All API keys but the root key, which is in the settings."""

    def __init__(self, settings: BrokerSettings) -> None:
        super().__init__("api-keys", ApiKeyRecord)
        self._settings = settings

    def create(self, wish: ApiKeyCreate, maker: Principal, now: float) -> tuple[ApiKeyRecord, str]:
        """A new key and its secret. Raises `ApiError` if the maker has less power, or there are too many."""
        maker.require_power_over(wish.scopes, wish.room_prefix)
        if len(self.records) >= MAX_API_KEYS:
            raise ApiError("too-many-keys", 409, "Too many API keys", f"there are {MAX_API_KEYS}; delete one")
        key = f"k-{secrets.token_hex(8)}"
        secret, secret_hash = _new_secret(key)
        record = ApiKeyRecord(
            key=key,
            name=wish.name,
            scopes=sorted(set(wish.scopes)),
            room_prefix=wish.room_prefix,
            secret_hash=secret_hash,
            created_at=now,
            created_by=maker.key,
            requests_per_minute=_capped(wish.requests_per_minute, maker.requests_per_minute),
            max_rooms=_capped(wish.max_rooms, maker.max_rooms),
            expires_at=_capped(None if wish.expires_in_s is None else now + wish.expires_in_s, maker.expires_at),
        )
        self.put(key, record)
        return record, secret

    def get(self, key: str) -> ApiKeyRecord:
        """The key of this id. Raises `ApiError`."""
        if (record := self.records.get(key)) is None:
            raise ApiError("key-unknown", 404, "No such API key", f"there is no key {key!r}")
        return record

    def rotate(self, key: str, actor: Principal, overlap_s: float, now: float) -> tuple[ApiKeyRecord, str]:
        """A new secret; the present one stays good for `overlap_s` seconds, the one before it ends now."""
        record = self.get(key)
        actor.require_power_over(record.scopes, record.room_prefix)
        secret, secret_hash = _new_secret(key)
        record.previous_hash, record.previous_until = record.secret_hash, now + overlap_s
        record.secret_hash, record.rotated_at = secret_hash, now
        self.put(key, record)
        return record, secret

    def delete(self, key: str, actor: Principal) -> None:
        """Withdraw a key: its next request is refused. Its rooms stay."""
        record = self.get(key)
        actor.require_power_over(record.scopes, record.room_prefix)
        self.drop(key)

    def principal(self, token: str, now: float) -> Principal:
        """Whose secret this is. Raises `ApiError`, the same for an unknown key as for a wrong or expired secret."""
        key = token.removeprefix(SECRET_MARK).partition("_")[0]
        record = self.records.get(key)
        if not _is_secret_of(record, token, now) or record is None:
            raise ApiError("key-refused", 401, "The API key was not accepted", "unknown, withdrawn or expired")
        self._note_use(record, now)
        return self.principal_of(record)

    def principal_of(self, record: ApiKeyRecord) -> Principal:
        """What this key may do, with the settings' limits where it has none of its own."""
        settings = self._settings
        per_minute, max_rooms = record.requests_per_minute, record.max_rooms
        return Principal(
            key=record.key,
            scopes=frozenset(record.scopes),
            room_prefix=record.room_prefix,
            requests_per_minute=settings.key_requests_per_minute if per_minute is None else per_minute,
            max_rooms=settings.key_max_rooms if max_rooms is None else max_rooms,
            expires_at=record.expires_at,
        )

    def _note_use(self, record: ApiKeyRecord, now: float) -> None:
        if record.last_used_at is None or now - record.last_used_at >= LAST_USED_STEP_S:
            record.last_used_at = now - now % LAST_USED_STEP_S
            self.put(record.key, record)


def _capped(wished: N | None, own: N | None) -> N | None:
    """What is wished, but never more than the maker has; `None` is no limit of one's own."""
    if own is None or wished is None:
        return wished if own is None else own
    return min(wished, own)


def _new_secret(key: str) -> tuple[str, str]:
    secret = f"{SECRET_MARK}{key}_{secrets.token_urlsafe(32)}"
    return secret, _hash(secret)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


def _is_secret_of(record: ApiKeyRecord | None, token: str, now: float) -> bool:
    """Both hashes are always compared, in constant time, so that the time taken tells nothing about a guess."""
    given = _hash(token)
    current = record.secret_hash if record is not None else _NO_HASH
    previous = record.previous_hash if record is not None else None
    is_current = hmac.compare_digest(given, current)
    is_previous = hmac.compare_digest(given, previous or _NO_HASH)
    if record is None or (record.expires_at is not None and now >= record.expires_at):
        return False
    return is_current or (is_previous and previous is not None and now < record.previous_until)
