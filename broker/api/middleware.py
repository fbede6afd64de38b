"""What surrounds every request: errors become problem documents, public endpoints answer other origins."""

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from broker.api.audit import AuditRecord
from broker.api.client_address import address_of
from broker.api.controller import StandingBy
from broker.api.keys import AUDIT_LOG, CONTROLLER, PROBLEM, SCOPE, TRUSTED_PROXIES
from broker.api.principal import PRINCIPAL, Principal
from broker.api.problems import ApiError, from_http, from_refusal, problem_response, standing_by, store_unavailable
from broker.api.routes import ROUTES
from broker.api.static import StaticFiles
from broker.core.refusals import Refusal
from broker.store.interface import StoreUnavailable

log = structlog.get_logger("broker")

ROOMS_PATH = "/v1/rooms/"
PREFLIGHT_MAX_AGE_S = 600
EXPOSED_HEADERS = "Location, ETag, Accept-Patch, Retry-After, Idempotency-Replayed"
_CROSS_ORIGIN: dict[str, set[str]] = {}
for _route in ROUTES:
    if _route.is_cross_origin:
        _CROSS_ORIGIN.setdefault(_route.path, set()).add(_route.method)


def _cross_origin_methods(request: web.Request) -> set[str]:
    """The methods pages of other origins may use on this path."""
    resource = request.match_info.route.resource
    return _CROSS_ORIGIN.get(resource.canonical, set()) if resource is not None else set()


def _error_for(request: web.Request, error: Exception) -> ApiError:
    match error:
        case ApiError():
            return error
        case Refusal():
            return from_refusal(error)
        case StoreUnavailable():
            return store_unavailable()
        case StandingBy():
            return standing_by()
        case web.HTTPException():
            return from_http(error)
        case _:
            request.app[CONTROLLER].metrics.faults.inc()
            log.error("request failed", path=request.match_info.route.name or request.method, exc_info=error)
            return ApiError("internal", 500, "The broker failed", "the fault has been logged")


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a problem document, and count it."""
    try:
        return await handler(request)
    except Exception as error:
        if isinstance(error, web.HTTPException) and error.status < 400:
            raise
        api_error = _error_for(request, error)
        request[PROBLEM] = api_error.kind
        request.app[CONTROLLER].metrics.refused.labels(api_error.kind).inc()
        if api_error.kind == "malformed":
            request.app[CONTROLLER].metrics.malformed.labels("http").inc()
        return problem_response(api_error, request.path)


@web.middleware
async def audit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Note what operators and hosts change, or are not allowed to.

    Who is not known, or is sent away for asking too often, leaves no entry: nobody else's are to be pushed out.
    """
    response = await handler(request)
    principal, problem = request.get(PRINCIPAL), request.get(PROBLEM, "")
    changes = SCOPE in request and request.method not in (hdrs.METH_GET, hdrs.METH_HEAD)
    if changes and principal is not None and problem != "rate-limited":
        await request.app[AUDIT_LOG].note(_audit_record(request, response, principal, problem))
    return response


def _audit_record(
    request: web.Request, response: web.StreamResponse, principal: Principal, problem: str
) -> AuditRecord:
    controller, resource = request.app[CONTROLLER], request.match_info.route.resource
    target = response.headers.get(hdrs.LOCATION, request.rel_url.raw_path)
    made_room = target.removeprefix(ROOMS_PATH) if target.startswith(ROOMS_PATH) else ""
    return AuditRecord(
        at=controller.unix_now(),
        actor=principal.key,
        action=f"{request.method} {resource.canonical if resource is not None else ''}",
        target=target,
        room=request.match_info.get("room", made_room),
        status=response.status,
        problem=problem,
        address=address_of(request, request.app[TRUSTED_PROXIES]),
    )


@web.middleware
async def cross_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let pages of any origin call the clients' endpoints; tokens travel in a header, never in cookies."""
    response = await handler(request)
    if _cross_origin_methods(request) and not response.prepared:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED_HEADERS
    return response


async def preflight(request: web.Request) -> web.Response:
    """Answer a browser's question before a cross-origin call."""
    methods = ", ".join(sorted(_cross_origin_methods(request)))
    headers = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: methods,
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "Authorization, Content-Type, Idempotency-Key",
        hdrs.ACCESS_CONTROL_MAX_AGE: str(PREFLIGHT_MAX_AGE_S),
    }
    return web.Response(status=204, headers=headers)


def register_preflights(app: web.Application) -> None:
    """Add an OPTIONS route beside each public endpoint."""
    for path in _CROSS_ORIGIN:
        app.router.add_route("OPTIONS", path, preflight)


def serve_static(files: StaticFiles) -> object:
    """A middleware that serves the pages where no route matches."""

    @web.middleware
    async def static(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.match_info.http_exception is None:
            return await handler(request)
        return files.respond(request) or await handler(request)

    return static
