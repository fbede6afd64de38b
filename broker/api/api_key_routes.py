"""Handlers of API keys. Who may see a key has power over it: a key limited to some rooms sees only such keys."""

from aiohttp import web

from broker.api.api_keys import ApiKeyRecord
from broker.api.bodies import json_response, read_body
from broker.api.controller import Controller
from broker.api.keys import CONTROLLER
from broker.api.principal import Principal, principal_of
from broker.api.problems import ApiError
from broker.api.rooms import require_store, rooms_owned
from broker.api.timestamps import rfc3339
from broker.protocol import ApiKey, ApiKeyCreate, ApiKeyGrant, ApiKeyList, RotateRequest


def show_key(controller: Controller, record: ApiKeyRecord) -> ApiKey:
    """A key without its secret, with the limits that apply to it."""
    limits, now = controller.api_keys.principal_of(record), controller.unix_now()
    is_overlapping = record.previous_hash is not None and now < record.previous_until
    return ApiKey(
        key=record.key,
        name=record.name,
        scopes=record.scopes,
        room_prefix=record.room_prefix,
        requests_per_minute=limits.requests_per_minute or 0.0,
        max_rooms=limits.max_rooms or 0,
        rooms=rooms_owned(controller.brain.state, record.key),
        created_at=rfc3339(record.created_at),
        created_by=record.created_by,
        expires_at=_text(record.expires_at),
        rotated_at=_text(record.rotated_at),
        previous_secret_until=rfc3339(record.previous_until) if is_overlapping else None,
        last_used_at=_text(record.last_used_at),
    )


def _text(unix_s: float | None) -> str | None:
    return None if unix_s is None else rfc3339(unix_s)


def _visible(controller: Controller, principal: Principal, key: str) -> ApiKeyRecord:
    """The key, if it is limited to rooms the asker reaches; else it is unknown to them."""
    record = controller.api_keys.records.get(key)
    if record is None or not principal.reaches(record.room_prefix):
        raise ApiError("key-unknown", 404, "No such API key", f"there is no key {key!r}")
    return record


async def create_key(request: web.Request) -> web.Response:
    """Make a key."""
    controller, principal = request.app[CONTROLLER], principal_of(request)
    body = await read_body(request, ApiKeyCreate)
    require_store(controller)
    keys = controller.api_keys
    record, secret = await controller.change(lambda: keys.create(body, principal, controller.unix_now()))
    location = {"Location": f"/v1/api-keys/{record.key}"}
    return json_response(ApiKeyGrant(api_key=show_key(controller, record), secret=secret), 201, location)


async def list_keys(request: web.Request) -> web.Response:
    """The keys the asker has rooms in common with, oldest first."""
    controller, principal = request.app[CONTROLLER], principal_of(request)
    records = [r for r in controller.api_keys.records.values() if principal.reaches(r.room_prefix)]
    records.sort(key=lambda record: (record.created_at, record.key))
    return json_response(ApiKeyList(api_keys=[show_key(controller, record) for record in records]))


async def get_key(request: web.Request) -> web.Response:
    """One key."""
    controller = request.app[CONTROLLER]
    record = _visible(controller, principal_of(request), request.match_info["key"])
    return json_response(show_key(controller, record))


async def rotate_key(request: web.Request) -> web.Response:
    """Give a key a new secret."""
    controller, principal = request.app[CONTROLLER], principal_of(request)
    body = await read_body(request, RotateRequest)
    require_store(controller)
    keys, key = controller.api_keys, _visible(controller, principal, request.match_info["key"]).key
    record, secret = await controller.change(lambda: keys.rotate(key, principal, body.overlap_s, controller.unix_now()))
    return json_response(ApiKeyGrant(api_key=show_key(controller, record), secret=secret))


async def delete_key(request: web.Request) -> web.Response:
    """Withdraw a key."""
    controller, principal = request.app[CONTROLLER], principal_of(request)
    require_store(controller)
    key = _visible(controller, principal, request.match_info["key"]).key
    await controller.change(lambda: controller.api_keys.delete(key, principal))
    return web.Response(status=204)
