"""The audit log: who changed what, or tried to, from where, and how it ended.

Entries go to a log in the store as soon as the request is answered; while the store is away they wait. The process log
has each one too, without the address, so that whoever collects logs has a copy that no key reaches.

Addresses of operators are kept as they are: that is what one looks for after a key was stolen. Those of hosts, who are
visitors, are kept as a keyed hash, by which two entries can be told to be from one place, and nothing else.
"""

import asyncio
import hmac
from collections import deque
from contextlib import suppress

import msgspec
import structlog
from msgspec import Struct

from broker.api.controller import Controller
from broker.api.principal import SESSION_MARK
from broker.store.interface import StoreUnavailable

log = structlog.get_logger("broker")

LOG_NAME = "audit"
MAX_WAITING = 10_000
"""While the store is away; the oldest goes first, and is counted."""
MAX_APPENDED = 200
"""In one transaction."""
MAX_TARGET_CHARACTERS = 256
HASH_CHARACTERS = 16


class AuditRecord(Struct, frozen=True, kw_only=True):
    """An entry as it is kept; `at` is Unix seconds. The rest as in `broker.protocol.AuditEntry`."""

    at: float
    actor: str
    action: str
    target: str
    room: str
    status: int
    problem: str
    address: str


class AuditLog:
    """Writes entries. One that the store did not confirm is written again, so it may stand there twice."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._waiting: deque[bytes] = deque()
        self._writing = asyncio.Lock()

    async def note(self, record: AuditRecord) -> None:
        """Keep an entry. It stands in the store when this returns, if the store answers."""
        log.info(
            "operator action", actor=record.actor, action=record.action, target=_short(record.target),
            room=record.room, status=record.status, problem=record.problem,
        )  # fmt: skip
        self._waiting.append(msgspec.json.encode(self._kept(record)))
        with suppress(StoreUnavailable):
            await self.write()
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self._controller.metrics.audit_lost.inc()

    async def write(self) -> None:
        """Write what waits, in order. Raises `StoreUnavailable`; it waits on then."""
        async with self._writing:
            while self._waiting:
                count = min(len(self._waiting), MAX_APPENDED)
                entries = [self._waiting.popleft() for _ in range(count)]
                await self._append(entries)

    async def _append(self, entries: list[bytes]) -> None:
        controller, keep = self._controller, self._controller.settings.audit_entries
        try:
            await controller.use_store(lambda: controller.store.append(LOG_NAME, entries, keep))
        except BaseException:
            self._waiting.extendleft(reversed(entries))
            raise

    def _kept(self, record: AuditRecord) -> AuditRecord:
        is_host = record.actor.startswith(SESSION_MARK)
        address = self._hashed(record.address) if is_host else record.address
        return msgspec.structs.replace(record, target=_short(record.target), address=address)

    def _hashed(self, address: str) -> str:
        digest = hmac.digest(self._controller.settings.secret, b"audit " + address.encode(), "sha256")
        return digest.hex()[:HASH_CHARACTERS]


def _short(target: str) -> str:
    return target[:MAX_TARGET_CHARACTERS]
