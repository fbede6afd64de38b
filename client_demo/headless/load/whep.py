"""The HTTP half of a viewer (draft-ietf-wish-whep): POST an offer, DELETE the resource."""

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import aiohttp

REQUEST_S = 30.0
MAX_ANSWER_BYTES = 256 * 1024
MAX_REDIRECTS = 3


class WhepError(Exception):
    """The server did not answer as WHEP wants it; the message is short, as it is counted by its text."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one viewer asks: the WHEP endpoint and the bearer token for it, empty for none."""

    url: str
    token: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """A server's answer, and the resource to delete; empty if it named none."""

    sdp: str
    resource: str
    posted_at: float


class WhepClient:
    """Talks to WHEP servers; an async context manager."""

    def __init__(self) -> None:
        timeout = aiohttp.ClientTimeout(total=REQUEST_S)
        self._http = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=128))

    async def __aenter__(self) -> "WhepClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def post(self, seat: Seat, offer: str) -> Answered:
        """Post an offer. Raises `WhepError`."""
        headers = {**_bearer(seat.token), "Content-Type": "application/sdp", "Accept": "application/sdp"}
        posted_at = time.perf_counter()
        try:
            async with self._http.post(
                seat.url, data=offer.encode(), headers=headers, max_redirects=MAX_REDIRECTS
            ) as response:
                body = await _read(response.content)
                if response.status != 201:
                    raise WhepError(f"HTTP {response.status} to the offer")
                location = response.headers.get("Location", "")
                resource = urljoin(str(response.url), location) if location else ""
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise WhepError(f"no answer to the offer: {_name(error)}") from error
        try:
            return Answered(body.decode(), resource, posted_at)
        except UnicodeDecodeError as error:
            raise WhepError("the answer is not UTF-8") from error

    async def delete(self, seat: Seat, resource: str) -> None:
        """End a viewer at the server. Raises `WhepError`."""
        if not resource:
            return
        try:
            async with self._http.delete(resource, headers=_bearer(seat.token)) as response:
                await response.read()
                if response.status >= 400 and response.status != 404:
                    raise WhepError(f"HTTP {response.status} to the DELETE")
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise WhepError(f"no answer to the DELETE: {_name(error)}") from error


async def _read(content: aiohttp.StreamReader) -> bytes:
    body = b""
    while chunk := await content.read(MAX_ANSWER_BYTES + 1 - len(body)):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise WhepError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
    return body


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _name(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"none within {REQUEST_S:.0f} s"
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error.strerror or error.os_error)
    return type(error).__name__


async def address_towards(url: str) -> str:
    """Our address as the server of `url` sees it. Raises `WhepError` if its name does not resolve."""
    loop = asyncio.get_running_loop()
    parsed = urlsplit(url)
    if parsed.hostname is None:
        raise WhepError(f"{url}: not a URL with a host")
    try:
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=(parsed.hostname, parsed.port or 443)
        )
    except OSError as error:
        raise WhepError(f"{parsed.hostname}: {error.strerror or error}") from error
    address: str = transport.get_extra_info("sockname")[0]
    transport.close()
    return address
