"""The edge's errors as problem documents (RFC 9457)."""

import math

from aiohttp import web

from broker.protocol import Problem, encode


def problem(slug: str, status: int, title: str, detail: str = "", retry_after_s: float | None = None) -> web.Response:
    """A problem document of the stable type `urn:farstage:problem:{slug}`."""
    body = Problem(
        type=f"urn:farstage:problem:{slug}", title=title, status=status, detail=detail, retry_after_s=retry_after_s
    )
    headers = {} if retry_after_s is None else {"Retry-After": str(max(1, math.ceil(retry_after_s)))}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.Response(body=encode(body), status=status, content_type="application/problem+json", headers=headers)
