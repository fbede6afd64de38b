"""Problem documents (RFC 9457): every error the API gives, with a stable `type`."""

from aiohttp import web

from broker.core.refusals import Refusal, RefusalKind
from broker.protocol import Problem, encode
from broker.tokens import TokenRefusal, TokenRefused

TYPE_PREFIX = "urn:farstage:problem:"
CONTENT_TYPE = "application/problem+json"

_REFUSAL_STATUS: dict[RefusalKind, tuple[int, str]] = {
    RefusalKind.ROOM_UNKNOWN: (404, "No such room"),
    RefusalKind.ROOM_EXISTS: (409, "The room exists already"),
    RefusalKind.SCENE_UNKNOWN: (422, "No node has this scene"),
    RefusalKind.ROOM_FULL: (409, "The room is full"),
    RefusalKind.ROLE_FULL: (409, "The room has as many of this role as it may"),
    RefusalKind.ROOM_NOT_OPEN: (409, "The room is not open yet"),
    RefusalKind.ROOM_LOCKED: (423, "The room is locked"),
    RefusalKind.WAITING_ROOM: (403, "The room has a waiting room"),
    RefusalKind.WAITING_ROOM_FULL: (409, "The waiting room is full"),
    RefusalKind.STILL_WAITING: (409, "You are still waiting"),
    RefusalKind.TICKET_UNKNOWN: (404, "No such ticket"),
    RefusalKind.TICKET_ENDED: (410, "The ticket has ended"),
    RefusalKind.TOO_MANY_ROOMS: (503, "Too many rooms"),
    RefusalKind.PARTICIPANT_UNKNOWN: (404, "No such participant"),
    RefusalKind.NOT_MOVABLE: (409, "The participant cannot be moved there"),
    RefusalKind.SESSION_UNKNOWN: (404, "No such session"),
    RefusalKind.SESSION_ENDED: (410, "The session has ended"),
    RefusalKind.NO_STAGE: (409, "The room has no stage"),
    RefusalKind.STAGE_TAKEN: (409, "Somebody publishes here already"),
    RefusalKind.AGENT_UNKNOWN: (404, "No such node or edge"),
    RefusalKind.REGION_UNKNOWN: (404, "No such region"),
    RefusalKind.NO_EDGE: (503, "No edge is ready"),
    RefusalKind.NO_NODE: (503, "No render node is ready"),
    RefusalKind.FARM_FULL: (503, "The farm is full"),
    RefusalKind.TOO_FAR: (503, "Every free node is too far away"),
}

_FORBIDDEN = frozenset(
    {TokenRefusal.REPLAYED, TokenRefusal.REVOKED, TokenRefusal.WRONG_ROOM, TokenRefusal.WRONG_SUBJECT}
)

_HTTP_KINDS: dict[int, tuple[str, str]] = {
    404: ("not-found", "Nothing is here"),
    405: ("method-not-allowed", "This method is not allowed here"),
    408: ("request-timeout", "The request took too long"),
    413: ("too-large", "The body is too large"),
}


class ApiError(Exception):
    """An error with its problem document."""

    def __init__(
        self,
        kind: str,
        status: int,
        title: str,
        detail: str = "",
        retry_after_s: float | None = None,
        allow: str = "",
    ) -> None:
        super().__init__(f"{kind}: {detail or title}")
        self.kind = kind
        self.status = status
        self.title = title
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.allow = allow


def from_refusal(refusal: Refusal) -> ApiError:
    """What the core refused, as the API says it."""
    status, title = _REFUSAL_STATUS[refusal.kind]
    return ApiError(refusal.kind.value, status, title, refusal.detail, refusal.retry_after_s)


def from_token(refused: TokenRefused) -> ApiError:
    """A refused token, as the API says it: 401 if another token could help, 403 if this one is barred."""
    status = 403 if refused.reason in _FORBIDDEN else 401
    kind = f"token-{refused.reason.value.replace('_', '-')}"
    return ApiError(kind, status, "The token was not accepted", f"reason: {refused.reason.value}")


def from_http(error: web.HTTPException) -> ApiError:
    """aiohttp's own errors, in our form."""
    kind, title = _HTTP_KINDS.get(error.status, ("http-error", error.reason))
    return ApiError(kind, error.status, title, allow=error.headers.get("Allow", ""))


def store_unavailable() -> ApiError:
    """The shared store does not answer, and this request cannot do without it."""
    return ApiError(
        "store-unavailable", 503, "The store does not answer", "running sessions go on; try again shortly", 2.0
    )


def standing_by() -> ApiError:
    """This broker does not decide (yet): its store has not answered, or another broker holds the lead."""
    return ApiError(
        "standing-by", 503, "This broker is standing by", "it waits for its store or for another broker's lead", 1.0
    )


def malformed(detail: str) -> ApiError:
    """The body is not what the schema says; `detail` names key and path."""
    return ApiError("malformed", 400, "The body is not valid", detail)


def problem_response(error: ApiError, instance: str) -> web.Response:
    """The document, with `Retry-After` and `WWW-Authenticate` where they belong."""
    problem = Problem(
        type=TYPE_PREFIX + error.kind,
        title=error.title,
        status=error.status,
        detail=error.detail,
        instance=instance,
        retry_after_s=error.retry_after_s,
    )
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.allow:
        headers["Allow"] = error.allow
    return web.Response(status=error.status, body=encode(problem), content_type=CONTENT_TYPE, headers=headers)
