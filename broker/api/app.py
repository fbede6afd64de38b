"""The broker as an aiohttp application."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import structlog
from aiohttp import web

from broker.api import middleware, operations, routes
from broker.api.audit import AuditLog
from broker.api.client_address import parse_networks
from broker.api.controller import Controller, StandingBy
from broker.api.idempotent_answers import IdempotentAnswers
from broker.api.keys import (
    AUDIT_LOG,
    CONTROLLER,
    DATA_LIMITER,
    EDGE_HTTP,
    GUEST_LIMITER,
    IDEMPOTENCY,
    KEY_LIMITER,
    PUBLISH_LIMITER,
    RESHAPE_LIMITER,
    TICKET_LIMITER,
    TRUSTED_PROXIES,
    WEBHOOK_SENDER,
)
from broker.api.rate_limit import (
    DATA_PER_MINUTE,
    OFFERS_PER_MINUTE,
    POLLS_PER_MINUTE,
    RESHAPES_PER_MINUTE,
    KeyLimiter,
    RateLimiter,
)
from broker.api.settings import BrokerSettings
from broker.api.static import StaticFiles
from broker.api.webhook_sender import WebhookSender
from broker.protocol import MAX_HTTP_BODY_BYTES
from broker.store.factory import open_store
from broker.store.interface import StoreUnavailable

log = structlog.get_logger("broker")

__all__ = ["BrokerSettings", "create_app"]

METER_INTERVAL_S = 1.0
EDGE_ANSWERS_WITHIN_S = 5.0
"""What an edge gets to answer a publisher's offer."""

SENDER_PAUSE_S = 0.05
"""Before webhooks are delivered, at first and should a fault have ended it."""


def create_app(settings: BrokerSettings) -> web.Application:
    """The broker, ready for a runner. Raises `ValueError` for a store URL of an unknown kind."""
    store = open_store(settings.store_url, first_fence=int(time.time() * 1000))
    middlewares: list[object] = [middleware.cross_origin, middleware.audit, middleware.problems]
    if settings.web_root is not None:
        middlewares.append(middleware.serve_static(StaticFiles(settings.web_root)))
    app = web.Application(middlewares=middlewares, client_max_size=MAX_HTTP_BODY_BYTES)  # type: ignore[arg-type]
    app[CONTROLLER] = Controller(settings, store)
    app[IDEMPOTENCY] = IdempotentAnswers()
    app[AUDIT_LOG] = AuditLog(app[CONTROLLER])
    app[GUEST_LIMITER] = RateLimiter(settings.guest_joins_per_minute)
    app[KEY_LIMITER] = KeyLimiter()
    app[RESHAPE_LIMITER] = RateLimiter(RESHAPES_PER_MINUTE)
    app[TICKET_LIMITER] = RateLimiter(POLLS_PER_MINUTE)
    app[DATA_LIMITER] = RateLimiter(DATA_PER_MINUTE)
    app[PUBLISH_LIMITER] = RateLimiter(OFFERS_PER_MINUTE)
    app[TRUSTED_PROXIES] = parse_networks(settings.trusted_proxies)
    routes.register(app)
    operations.register(app)
    middleware.register_preflights(app)
    app.cleanup_ctx.append(_open_edge_http)
    app.cleanup_ctx.append(_run_background)
    app.cleanup_ctx.append(_send_webhooks)
    app.on_shutdown.append(_say_goodbye)
    return app


async def _open_edge_http(app: web.Application) -> AsyncIterator[None]:
    timeout = aiohttp.ClientTimeout(total=EDGE_ANSWERS_WITHIN_S)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        app[EDGE_HTTP] = http
        yield


async def _run_background(app: web.Application) -> AsyncIterator[None]:
    controller = app[CONTROLLER]
    await controller.probe_store()
    task = asyncio.create_task(_background(app))
    yield
    task.cancel()
    await asyncio.wait([task])
    await controller.close()


async def _send_webhooks(app: web.Application) -> AsyncIterator[None]:
    controller = app[CONTROLLER]
    async with WebhookSender(
        controller.webhooks, controller.settings, controller.metrics, lambda: controller.unix_now()
    ) as sender:
        app[WEBHOOK_SENDER] = sender
        task = asyncio.create_task(_repeat(controller, SENDER_PAUSE_S, sender.run))
        yield
        task.cancel()
        await asyncio.wait([task])


async def _say_goodbye(app: web.Application) -> None:
    app[CONTROLLER].ticket_news.close()
    app[CONTROLLER].close_links()


async def _background(app: web.Application) -> None:
    controller = app[CONTROLLER]
    settings = controller.settings
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_repeat(controller, settings.watch_interval_s, controller.watch))
        tasks.create_task(_repeat(controller, settings.tick_interval_s, controller.tick))
        tasks.create_task(_repeat(controller, settings.store_probe_interval_s, controller.probe_store))
        tasks.create_task(_repeat(controller, settings.claim_ttl_s / 10, controller.record_agents))
        tasks.create_task(_repeat(controller, settings.claim_ttl_s / 5, controller.renew_claims))
        tasks.create_task(_repeat(controller, METER_INTERVAL_S, controller.meter))
        tasks.create_task(_repeat(controller, settings.store_probe_interval_s, app[AUDIT_LOG].write))
        if settings.core.reoptimise_every_s > 0:
            tasks.create_task(_repeat(controller, settings.core.reoptimise_every_s, controller.reoptimise))


async def _repeat(controller: Controller, interval_s: float, action: Callable[[], Awaitable[None]]) -> None:
    """Do it again and again: while the store is away, or another broker leads, it waits for the next turn, and one
    fault does not end it.

    Cancellation is also looked for, not only caught: `asyncio.wait_for`, which redis-py uses, loses one now and then
    before Python 3.12, and the broker would never stop.
    """
    while not _is_cancelled():
        await asyncio.sleep(interval_s)
        try:
            await action()
        except (StoreUnavailable, StandingBy):
            continue
        except Exception as error:
            controller.metrics.faults.inc()
            log.error("background work failed", action=action.__name__, exc_info=error)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
