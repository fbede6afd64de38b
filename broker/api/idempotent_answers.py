"""Answers to requests that carried an idempotency key, bounded in number, size and time. Pure but for the responses."""

from collections import OrderedDict
from dataclasses import dataclass

from aiohttp import hdrs, web

from broker.api.problems import ApiError

KEPT_S = 3_600.0
MAX_KEPT = 10_000
"""Stops clients from filling memory; the oldest answer is forgotten first."""
MAX_KEPT_BYTES = 16 * 1024
"""A longer answer is not kept. Grants and rooms are a tenth of that."""
RETRY_S = 1.0


@dataclass(slots=True)
class Answer:
    """To a request with this body; `status` is 0 while it is being carried out."""

    fingerprint: bytes
    since: float
    status: int = 0
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class IdempotentAnswers:
    """Answers by who asked what with which key."""

    def __init__(self) -> None:
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()

    def find(self, name: bytes, fingerprint: bytes, now: float) -> Answer | None:
        """The answer that was given; `None` if this is the first request, which is begun. Raises `ApiError`."""
        self._forget_old(now)
        known = self._answers.get(name)
        if known is None:
            self._answers[name] = Answer(fingerprint, now)
            return None
        if known.fingerprint != fingerprint:
            detail = "choose a new key for each request; send the same body with the same key"
            raise ApiError("idempotency-key-reused", 422, "This key was used with another body", detail)
        if not known.status:
            raise ApiError("still-working", 409, "The first request with this key is being carried out", "", RETRY_S)
        return known

    def keep(self, name: bytes, response: web.Response) -> None:
        """The request has succeeded."""
        known, body = self._answers.get(name), response.body
        if known is None or not isinstance(body, bytes | None) or len(body or b"") > MAX_KEPT_BYTES:
            self.forget(name)
            return
        kept = (hdrs.LOCATION, hdrs.RETRY_AFTER, hdrs.CACHE_CONTROL, hdrs.CONTENT_TYPE)
        known.headers = tuple((header, response.headers[header]) for header in kept if header in response.headers)
        known.status, known.body = response.status, body or b""

    def forget(self, name: bytes) -> None:
        """The request was refused, or ended without an answer."""
        self._answers.pop(name, None)

    def _forget_old(self, now: float) -> None:
        while self._answers and (
            len(self._answers) > MAX_KEPT or now - next(iter(self._answers.values())).since > KEPT_S
        ):
            self._answers.popitem(last=False)
