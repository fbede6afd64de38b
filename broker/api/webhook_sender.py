"""The shell around `Deliveries`: it waits until something is due, sends it, and says how it went.

A request has one time limit for everything, follows no redirect, sends and keeps no cookie, and does not read the
answer's body: a receiver can be slow or endless at its own expense only.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
import structlog

from broker.api.metrics import BrokerMetrics
from broker.api.problems import ApiError
from broker.api.settings import BrokerSettings
from broker.api.timestamps import rfc3339
from broker.api.webhook_deliveries import DeliveryRecord
from broker.api.webhook_names import OwnThreadsResolver
from broker.api.webhook_signing import SecretUnreadable, headers
from broker.api.webhook_target import TargetRefused
from broker.api.webhooks import WebhookRecord, Webhooks, new_delivery_id
from broker.protocol import WebhookData, WebhookTestEvent, WebhookTestResult, encode

log = structlog.get_logger("broker")

MAX_TESTS_AT_ONCE = 8
"""Tests are answered when their attempt is: stops hanging receivers from holding many of the operators' requests."""
LONGEST_SLEEP_S = 60.0
_GONE = 410
_HEADERS = {"Content-Type": "application/json", "User-Agent": "Farstage-Webhooks/1"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt went. `status` is absent if there was no answer; `error` is empty if it was taken."""

    status: int | None = None
    error: str = ""
    retry_after_s: float = 0.0


class WebhookSender:
    """Delivers events; an async context manager, inside which `run` is the work."""

    def __init__(
        self,
        webhooks: Webhooks,
        settings: BrokerSettings,
        metrics: BrokerMetrics,
        unix_now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._webhooks = webhooks
        self._metrics = metrics
        self._timeout = aiohttp.ClientTimeout(total=settings.webhook_timeout_s)
        self._unix_now = unix_now
        self._jitter = jitter
        self._resolver = OwnThreadsResolver()
        self._wake = asyncio.Event()
        self._tests = 0
        webhooks.on_change = self._wake.set

    async def __aenter__(self) -> "WebhookSender":
        connector = aiohttp.TCPConnector(
            socket_factory=self._webhooks.guard.make_socket, resolver=self._resolver, limit=0, use_dns_cache=False
        )
        self._http = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
        await self._resolver.close()

    async def run(self) -> None:
        """Deliver what is due, for ever."""
        self._webhooks.deliveries.ground()
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                for delivery in self._webhooks.deliveries.begin(self._unix_now()):
                    tasks.create_task(self._deliver(delivery))
                await self._sleep()

    async def _sleep(self) -> None:
        """Until something may be due."""
        due_at = self._webhooks.deliveries.next_due()
        sleep_s = LONGEST_SLEEP_S if due_at is None else due_at - self._unix_now()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(0.0, sleep_s), LONGEST_SLEEP_S)):
                await self._wake.wait()

    async def _deliver(self, delivery: DeliveryRecord) -> None:
        record = self._webhooks.records.get(delivery.webhook)
        if record is None:
            outcome = Outcome(error="the webhook is gone")
        else:
            outcome = await self._attempt(record, delivery.delivery, delivery.body)
        self._note(delivery, outcome)
        self._wake.set()

    def _note(self, delivery: DeliveryRecord, outcome: Outcome) -> None:
        deliveries = self._webhooks.deliveries
        if not outcome.error:
            self._metrics.webhooks.labels("delivered").inc()
            return deliveries.succeeded(delivery.delivery)
        if outcome.status == _GONE:
            self._webhooks.disable(delivery.webhook, "the receiver answered 410 Gone")
        deliveries.failed(delivery.delivery, outcome.error, self._unix_now(), self._jitter(), outcome.retry_after_s)
        self._metrics.webhooks.labels("given-up" if delivery.dead else "failed").inc()
        log.warning(
            "webhook not delivered", webhook=delivery.webhook, delivery=delivery.delivery, error=outcome.error,
            attempts=delivery.attempts, given_up=delivery.dead,
        )  # fmt: skip
        return None

    async def test(self, record: WebhookRecord) -> WebhookTestResult:
        """One attempt with a test event. Raises `ApiError` if too many are under way."""
        if self._tests >= MAX_TESTS_AT_ONCE:
            raise ApiError("too-many-requests", 429, "Too many tests of webhooks at once", retry_after_s=2.0)
        self._tests += 1
        began = time.perf_counter()
        try:
            data = WebhookData(webhook=record.webhook)
            event = WebhookTestEvent(timestamp=rfc3339(self._unix_now()), data=data)
            outcome = await self._attempt(record, new_delivery_id(), encode(event).decode())
        finally:
            self._tests -= 1
        return WebhookTestResult(
            delivered=not outcome.error,
            status=outcome.status,
            error=outcome.error,
            duration_ms=round((time.perf_counter() - began) * 1000, 1),
        )

    async def _attempt(self, record: WebhookRecord, message_id: str, text: str) -> Outcome:
        """Send it once; whatever goes wrong is an outcome."""
        body = text.encode()
        try:
            self._webhooks.guard.check_url(record.url)
            signed = headers(self._webhooks.signing_secrets(record), message_id, int(self._unix_now()), body)
            return await self._post(record.url, body, signed)
        except (TargetRefused, SecretUnreadable) as error:
            return Outcome(error=str(error))
        except TimeoutError:
            return Outcome(error=f"no answer within {self._timeout.total:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(error=_in_words(error))
        except Exception as error:
            self._metrics.faults.inc()
            log.error("webhook attempt failed", webhook=record.webhook, exc_info=error)
            return Outcome(error="the broker failed")

    async def _post(self, url: str, body: bytes, signed: dict[str, str]) -> Outcome:
        async with self._http.post(url, data=body, headers=_HEADERS | signed, allow_redirects=False) as response:
            if 200 <= response.status < 300:
                return Outcome(response.status)
            wait_s = _retry_after_s(response.headers.get("Retry-After", ""))
            return Outcome(response.status, f"HTTP {response.status}", wait_s)


def _in_words(error: Exception) -> str:
    """The kind of error only: its text may name addresses inside, which is no business of who made the webhook."""
    cause = error.__cause__
    return str(cause) if isinstance(cause, TargetRefused) else f"not reached: {type(error).__name__}"


def _retry_after_s(header: str) -> float:
    """Seconds of a `Retry-After`; its form with a date is not heeded."""
    return float(header) if header.isascii() and header.isdigit() and len(header) < 10 else 0.0
