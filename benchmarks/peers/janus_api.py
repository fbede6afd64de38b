"""Janus's HTTP API (https://janus.conf.meetecho.com/docs/rest.html) as far as a WHEP front needs it.

One session holds all handles; one long poll brings what Janus says of any of them.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import aiohttp

ANSWER_S = 20.0
"""How long Janus may take for a request."""
POLL_S = 45.0
"""Janus ends a poll without events after half a minute."""
MAX_EVENTS = 50


class JanusError(Exception):
    """Janus has refused a request or is gone; the message has its reason."""


class JanusApi:
    """A session with Janus. `on_event` gets what is no reply to a request: `webrtcup`, `hangup`, ..."""

    def __init__(self, http: aiohttp.ClientSession, url: str, on_event: Callable[[dict[str, Any]], None]) -> None:
        self._http, self._url, self._on_event = http, url, on_event
        self._session_url = ""
        self._numbers = itertools.count(1)
        self._awaited: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def open(self) -> None:
        """Create the session. Raises `JanusError`, also while Janus is still starting."""
        created = await self._post(self._url, {"janus": "create"})
        self._session_url = f"{self._url}/{created['data']['id']}"

    async def attach(self) -> int:
        """Return a new handle of the streaming plugin."""
        reply = await self._post(self._session_url, {"janus": "attach", "plugin": "janus.plugin.streaming"})
        return int(reply["data"]["id"])

    async def detach(self, handle: int) -> None:
        """Free a handle and its connection."""
        await self._post(f"{self._session_url}/{handle}", {"janus": "detach"})

    async def message(self, handle: int, body: dict[str, Any], jsep: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send the plugin a message and return its reply, whether at once or as an event. Raises `JanusError`."""
        transaction = str(next(self._numbers))
        later = self._awaited[transaction] = asyncio.get_running_loop().create_future()
        request = {"janus": "message", "body": body, "transaction": transaction}
        if jsep is not None:
            request["jsep"] = jsep
        try:
            reply = await self._post(f"{self._session_url}/{handle}", request)
            if reply["janus"] == "ack":
                reply = await asyncio.wait_for(later, ANSWER_S)
        except TimeoutError as error:
            raise JanusError(f"Janus did not reply to {body['request']!r} within {ANSWER_S:.0f} s") from error
        finally:
            del self._awaited[transaction]
        return _checked(reply)

    async def poll(self) -> None:
        """Bring replies and events until cancelled. Raises `JanusError` when Janus is gone."""
        while True:
            events = await self._get(f"{self._session_url}?maxev={MAX_EVENTS}")
            for event in events if isinstance(events, list) else [events]:
                self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        awaited = self._awaited.get(event.get("transaction", ""))
        if awaited is not None and not awaited.done():
            awaited.set_result(event)
        else:
            self._on_event(event)

    async def _post(self, url: str, request: dict[str, Any]) -> dict[str, Any]:
        request.setdefault("transaction", str(next(self._numbers)))
        try:
            async with self._http.post(url, json=request, timeout=aiohttp.ClientTimeout(ANSWER_S)) as response:
                reply: dict[str, Any] = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise JanusError(f"Janus does not answer: {error!r}") from error
        if reply.get("janus") == "error":
            raise JanusError(f"Janus refused {request['janus']!r}: {reply['error']}")
        return reply

    async def _get(self, url: str) -> Any:
        try:
            async with self._http.get(url, timeout=aiohttp.ClientTimeout(POLL_S)) as response:
                return await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise JanusError(f"Janus does not answer: {error!r}") from error


def _checked(reply: dict[str, Any]) -> dict[str, Any]:
    data = reply.get("plugindata", {}).get("data", {})
    if "error" in data:
        raise JanusError(f"the streaming plugin: {data['error']}")
    return reply
