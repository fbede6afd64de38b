"""Bodies: read within a limit of size and time, decoded strictly, answered as JSON."""

import asyncio
from typing import TypeVar

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError

from broker.api.keys import CONTROLLER
from broker.api.problems import ApiError, malformed
from broker.protocol import Message, encode

B = TypeVar("B", bound=Message)


async def read_raw(request: web.Request) -> bytes:
    """The body as it came, within the application's limit of size. Raises `ApiError`."""
    try:
        async with asyncio.timeout(request.app[CONTROLLER].settings.body_timeout_s):
            return await request.read()
    except TimeoutError as error:
        raise ApiError("request-timeout", 408, "The body did not arrive in time") from error
    except (web.RequestPayloadError, ContentEncodingError) as error:
        raise malformed(f"the body is not what its headers say: {error}") from error


async def read_body(request: web.Request, kind: type[B]) -> B:
    """The body as `kind`; an empty body is an empty object. Raises `ApiError` naming key and path."""
    raw = await read_raw(request)
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise malformed(str(error)) from error
    except RecursionError as error:
        raise malformed("the body is nested too deeply") from error


def json_response(body: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A struct as JSON; answers are never cached, since they hold tokens and live figures."""
    return web.Response(
        status=status,
        body=encode(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
