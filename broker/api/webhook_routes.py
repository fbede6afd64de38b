"""Handlers of webhooks. Who reaches its rooms sees a webhook; secrets and events are for who may read those anyway."""

from aiohttp import web
from msgspec import UNSET

from broker.api.bodies import json_response, read_body
from broker.api.controller import Controller
from broker.api.keys import CONTROLLER, WEBHOOK_SENDER
from broker.api.listing import Key, page, read_query
from broker.api.principal import principal_of
from broker.api.rooms import require_store
from broker.api.timestamps import rfc3339
from broker.api.webhook_deliveries import DeliveryRecord
from broker.api.webhooks import WebhookRecord
from broker.protocol import (
    Delivery,
    DeliveryList,
    DeliveryQuery,
    DeliveryState,
    RedeliverRequest,
    RedeliverResult,
    Webhook,
    WebhookCreate,
    WebhookGrant,
    WebhookList,
    WebhookPatch,
    WebhookRotate,
)


def show_webhook(controller: Controller, record: WebhookRecord) -> Webhook:
    """A webhook without its secret, and how it fares."""
    deliveries, now = controller.webhooks.deliveries, controller.unix_now()
    is_overlapping = record.sealed_previous is not None and now < record.previous_until
    return Webhook(
        webhook=record.webhook,
        name=record.name,
        url=record.url,
        events=record.events,
        room_prefix=record.room_prefix,
        enabled=record.enabled,
        disabled_reason=record.disabled_reason,
        created_at=rfc3339(record.created_at),
        created_by=record.created_by,
        previous_secret_until=rfc3339(record.previous_until) if is_overlapping else None,
        waiting=deliveries.waiting(record.webhook),
        dead_letters=deliveries.dead_letters(record.webhook),
        dropped=deliveries.dropped.get(record.webhook, 0),
    )


def _show_delivery(record: DeliveryRecord) -> Delivery:
    return Delivery(
        delivery=record.delivery,
        event=record.event,
        room=record.room,
        state=DeliveryState.DEAD if record.dead else DeliveryState.WAITING,
        body=record.body,
        created_at=rfc3339(record.created_at),
        attempts=record.attempts,
        next_attempt_at=None if record.dead else rfc3339(record.due_at),
        last_error=record.last_error,
    )


def _in_order(record: DeliveryRecord) -> Key:
    return (f"{record.number:020}",)


async def create_webhook(request: web.Request) -> web.Response:
    """Make a webhook."""
    controller, principal = request.app[CONTROLLER], principal_of(request)
    body = await read_body(request, WebhookCreate)
    require_store(controller)
    record, secret = await controller.change(lambda: controller.webhooks.create(body, principal))
    location = {"Location": f"/v1/webhooks/{record.webhook}"}
    return json_response(WebhookGrant(webhook=show_webhook(controller, record), secret=secret), 201, location)


async def list_webhooks(request: web.Request) -> web.Response:
    """The webhooks whose rooms the asker reaches, oldest first."""
    controller, principal = request.app[CONTROLLER], principal_of(request)
    records = [r for r in controller.webhooks.records.values() if principal.reaches(r.room_prefix)]
    records.sort(key=lambda record: (record.created_at, record.webhook))
    return json_response(WebhookList(webhooks=[show_webhook(controller, record) for record in records]))


async def get_webhook(request: web.Request) -> web.Response:
    """One webhook."""
    controller = request.app[CONTROLLER]
    record = controller.webhooks.get(request.match_info["webhook"], principal_of(request))
    return json_response(show_webhook(controller, record))


async def patch_webhook(request: web.Request) -> web.Response:
    """Change a webhook."""
    controller, name, principal = request.app[CONTROLLER], request.match_info["webhook"], principal_of(request)
    body = await read_body(request, WebhookPatch)
    require_store(controller)
    record = await controller.change(lambda: controller.webhooks.patch(name, body, principal))
    return json_response(show_webhook(controller, record))


async def delete_webhook(request: web.Request) -> web.Response:
    """Forget a webhook, and what it was still to be told."""
    controller, name, principal = request.app[CONTROLLER], request.match_info["webhook"], principal_of(request)
    require_store(controller)
    await controller.change(lambda: controller.webhooks.delete(name, principal))
    return web.Response(status=204)


async def rotate_webhook(request: web.Request) -> web.Response:
    """Give a webhook a new secret; both sign for a while."""
    controller, name, principal = request.app[CONTROLLER], request.match_info["webhook"], principal_of(request)
    body = await read_body(request, WebhookRotate)
    require_store(controller)
    record, secret = await controller.change(lambda: controller.webhooks.rotate(name, body.overlap_s, principal))
    return json_response(WebhookGrant(webhook=show_webhook(controller, record), secret=secret))


async def send_test(request: web.Request) -> web.Response:
    """Send a test event now and say how it went."""
    webhooks = request.app[CONTROLLER].webhooks
    record = webhooks.get(request.match_info["webhook"], principal_of(request))
    return json_response(await request.app[WEBHOOK_SENDER].test(record))


async def list_deliveries(request: web.Request) -> web.Response:
    """Events that wait and dead letters, in their order."""
    webhooks, query = request.app[CONTROLLER].webhooks, read_query(request, DeliveryQuery)
    name = webhooks.get_with_power(request.match_info["webhook"], principal_of(request)).webhook
    is_dead = UNSET if query.state is UNSET else query.state is DeliveryState.DEAD
    matching = (record for record in webhooks.deliveries.of(name) if is_dead in (UNSET, record.dead))
    shown, cursor = page(f"deliveries of {name}", matching, _in_order, query)
    return json_response(DeliveryList(deliveries=[_show_delivery(record) for record in shown], next_cursor=cursor))


async def redeliver(request: web.Request) -> web.Response:
    """Send dead letters again."""
    controller, name, principal = request.app[CONTROLLER], request.match_info["webhook"], principal_of(request)
    body = await read_body(request, RedeliverRequest)
    require_store(controller)
    count = await controller.change(lambda: controller.webhooks.redeliver(name, body.deliveries, principal))
    return json_response(RedeliverResult(redelivered=count))
