"""The OpenAPI 3.1 document, generated from the route table and the message structs."""

import re
from functools import cache
from typing import Any, get_args

import msgspec

from broker import protocol
from broker.api.idempotency import HEADER, KEY_CHARACTERS
from broker.api.problems import CONTENT_TYPE
from broker.api.routes import ROUTES, Access, Route

_JSON = "application/json"
EVENTS: tuple[type[Any], ...] = get_args(protocol.WebhookEvent)
_REF_TEMPLATE = "#/components/schemas/{name}"
_ALWAYS = (400, 401, 403, 413)
_OPERATORS = (Access.OPERATOR, Access.MODERATOR)
_SECURITY: dict[Access, list[dict[str, list[str]]]] = {
    Access.PUBLIC: [],
    Access.JOIN_TOKEN: [{"joinToken": []}, {}],
    Access.PUBLISHER: [{"publishToken": []}],
    Access.SESSION: [{"sessionToken": []}],
    Access.TICKET: [{"ticketToken": []}],
    Access.MODERATOR: [{"operator": []}, {"sessionToken": []}],
    Access.OPERATOR: [{"operator": []}],
    Access.AGENT: [{"agentToken": []}],
}
_SCHEMES = {
    "operator": "The root key, an API key with the scope the operation names, or an operator token",
    "joinToken": "A join token from POST /v1/rooms/{room}/tokens, single use",
    "publishToken": "A token from POST /v1/rooms/{room}/tokens with `publish`",
    "sessionToken": "The session token of a JoinGrant",
    "ticketToken": "The token of a WaitingTicket",
    "agentToken": "A node or edge token",
}


@cache
def document() -> bytes:
    """The document as JSON."""
    structs = [t for route in ROUTES for t in (route.body, route.answer, route.query, route.accepted) if t is not None]
    messages = [protocol.AgentMessage, protocol.BrokerMessage, protocol.ClientMessage, protocol.ClientEvent]
    types = [*dict.fromkeys(structs), protocol.Problem, *messages, *EVENTS]
    _, schemas = msgspec.json.schema_components(types, ref_template=_REF_TEMPLATE)
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    spec = {
        "openapi": "3.1.0",
        "info": {
            "title": "Farstage broker",
            "version": protocol.API_VERSION,
            "description": "Rooms, joins, placement and the fleet. Errors are problem documents (RFC 9457).",
        },
        "paths": paths,
        "webhooks": {_event_name(event): _event(event) for event in EVENTS},
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                name: {"type": "http", "scheme": "bearer", "description": text} for name, text in _SCHEMES.items()
            },
        },
    }
    return msgspec.json.encode(spec)


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.handler.__name__}_{_parameters(route)[-1] if _parameters(route) else 'all'}",
        "summary": route.summary,
        "description": f"Access: {route.access.value}." + (f" Scope: `{route.scope.value}`." if route.scope else ""),
        "tags": [route.tag],
        "security": _SECURITY[route.access],
        "parameters": [
            *map(_parameter, _parameters(route)),
            *_query_parameters(route, schemas),
            *([_IDEMPOTENCY_KEY] if route.takes_idempotency_key else []),
        ],
        "responses": _responses(route),
    }
    if route.scope is not None:
        operation["x-scope"] = route.scope.value
    if route.body is not None:
        operation["requestBody"] = {"content": {route.media_type: {"schema": _ref(route.body)}}}
    elif route.media_type != _JSON:
        operation["requestBody"] = {"content": {route.media_type: {"schema": {"type": "string"}}}}
    return operation


def _event_name(event: type[Any]) -> str:
    return str(event.__struct_config__.tag)


def _event(event: type[Any]) -> dict[str, Any]:
    """What a webhook's receiver is sent, and answers."""
    return {
        "post": {
            "operationId": f"on_{_event_name(event).replace('.', '_')}",
            "summary": event.__doc__,
            "tags": ["webhooks"],
            "requestBody": {"content": {_JSON: {"schema": _ref(event)}}},
            "responses": {"2XX": {"description": "Taken"}, "410": {"description": "Send nothing more"}},
        }
    }


_IDEMPOTENCY_KEY = {
    "name": HEADER,
    "in": "header",
    "description": "A request that succeeded is not carried out twice with the same key; best a random UUID",
    "schema": {"type": "string", "minLength": KEY_CHARACTERS[0], "maxLength": KEY_CHARACTERS[1], "pattern": "^[ -~]+$"},
}


def _parameters(route: Route) -> list[str]:
    return re.findall(r"\{(\w+)\}", route.path)


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(route: Route, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    """The fields of the query's struct, each a parameter."""
    properties = schemas[route.query.__name__]["properties"] if route.query is not None else {}
    return [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]


def _responses(route: Route) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done"}
    if route.answer is not None:
        success["content"] = {route.media_type: {"schema": _ref(route.answer)}}
    elif route.media_type != _JSON:
        success["content"] = {route.media_type: {"schema": {"type": "string"}}}
    problem = {CONTENT_TYPE: {"schema": _ref(protocol.Problem)}}
    responses: dict[str, Any] = {str(route.status): success}
    if route.accepted is not None:
        content = {route.media_type: {"schema": _ref(route.accepted)}}
        responses["202"] = {"description": "Accepted, not done yet", "content": content}
    for status in sorted({*_ALWAYS, *route.statuses, *((429,) if route.access in _OPERATORS else ())}):
        responses[str(status)] = {"description": "Problem", "content": problem}
    responses["default"] = {"description": "Any other problem", "content": problem}
    return responses


def _ref(struct: type[Any]) -> dict[str, str]:
    return {"$ref": _REF_TEMPLATE.format(name=struct.__name__)}
