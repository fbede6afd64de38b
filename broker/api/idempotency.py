"""Idempotency keys: a POST that is sent again, since its answer was lost, is not carried out twice.

As draft-ietf-httpapi-idempotency-key-header says: with `Idempotency-Key` in its header a request that succeeded is
answered again from memory (`idempotent_answers`), for an hour and as long as the broker runs. A key belongs to one
bearer (or, without a token, one address) and one path. The same key with another body is a mistake (422); while the
first request is still being carried out the second is asked to come again (409). A request that was refused is not
remembered: trying again is what helps then.
"""

import hashlib
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from broker.api.bodies import read_raw
from broker.api.client_address import address_of
from broker.api.keys import CONTROLLER, IDEMPOTENCY, TRUSTED_PROXIES
from broker.api.problems import ApiError

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
KEY_CHARACTERS = (8, 128)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def once(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Carry a request out, or answer it as it was answered before. Raises `ApiError`."""
    key = request.headers.get(HEADER)
    if key is None:
        return await handler(request)
    answers, now = request.app[IDEMPOTENCY], request.app[CONTROLLER].now()
    name, fingerprint = _name(request, key), hashlib.sha256(await read_raw(request)).digest()
    known = answers.find(name, fingerprint, now)
    if known is not None:
        return web.Response(status=known.status, body=known.body, headers=[*known.headers, (REPLAYED, "true")])
    try:
        response = await handler(request)
    except BaseException:
        answers.forget(name)
        raise
    if isinstance(response, web.Response) and response.status < 400:
        answers.keep(name, response)
    else:
        answers.forget(name)
    return response


def _name(request: web.Request, key: str) -> bytes:
    """Who asks what with which key; a hash, so that no token is kept. Raises `ApiError`."""
    least, most = KEY_CHARACTERS
    if not least <= len(key) <= most or not key.isascii() or not key.isprintable():
        detail = f"{HEADER} has {least} to {most} printable ASCII characters, best a random UUID"
        raise ApiError("bad-idempotency-key", 400, "The idempotency key cannot be used", detail)
    bearer = request.headers.get(hdrs.AUTHORIZATION) or address_of(request, request.app[TRUSTED_PROXIES])
    return hashlib.sha256("\n".join((bearer, request.path, key)).encode(errors="surrogateescape")).digest()
