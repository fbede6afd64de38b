"""Where viewers sit: one endpoint for all, one line of a file each, or places in a room of a Farstage broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from broker.protocol import Codec, JoinGrant, JoinRequest, VideoCapability, Viewport
from client_demo.headless.api import BrokerClient, Refused
from client_demo.headless.load.process import LoadError
from client_demo.headless.load.whep import Seat, WhepError

JOINS_AT_ONCE = 64


class Seats(Protocol):
    """Gives every viewer its endpoint."""

    async def take(self, viewer: int) -> Seat:
        """The seat of a viewer. Raises `WhepError`."""

    async def free(self, viewer: int) -> None:
        """The viewer has left."""


class OneEndpoint:
    """The same endpoint and token for all."""

    def __init__(self, url: str, token: str = "") -> None:
        self._seat = Seat(url, token)

    async def take(self, viewer: int) -> Seat:
        """See `Seats`."""
        return self._seat

    async def free(self, viewer: int) -> None:
        """See `Seats`."""


class ListedEndpoints:
    """A file's lines, each a URL and perhaps a token; viewers beyond its end begin anew."""

    def __init__(self, lines: list[str]) -> None:
        fields = [line.split() for line in lines if line.strip() and not line.startswith("#")]
        if not fields:
            raise LoadError("the list of endpoints is empty; a line is a URL and, if needed, a token")
        self._seats = [Seat(*line[:2]) for line in fields]

    @staticmethod
    def of(file: Path) -> "ListedEndpoints":
        """Read a file. Raises `LoadError`."""
        try:
            return ListedEndpoints(file.read_text().splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise LoadError(f"{file}: {error}") from error

    async def take(self, viewer: int) -> Seat:
        """See `Seats`."""
        return self._seats[viewer % len(self._seats)]

    async def free(self, viewer: int) -> None:
        """See `Seats`."""


class RoomSeats:
    """Guests in an open room."""

    def __init__(self, client: BrokerClient, room: str) -> None:
        self._client = client
        self._room = room
        self._grants: dict[int, JoinGrant] = {}
        self._turn = asyncio.Semaphore(JOINS_AT_ONCE)

    @staticmethod
    @asynccontextmanager
    async def opened(broker_url: str, room: str) -> "AsyncIterator[RoomSeats]":
        """Seats in `room` of a broker."""
        async with BrokerClient(broker_url) as client:
            yield RoomSeats(client, room)

    async def take(self, viewer: int) -> Seat:
        """See `Seats`."""
        request = JoinRequest(
            display_name=f"load {viewer}",
            codecs=[VideoCapability(codec=Codec.H264, profiles=["42e0", "4d00"]), VideoCapability(codec=Codec.VP8)],
            viewport=Viewport(width=1280, height=720, max_fps=30),
        )
        try:
            async with self._turn:
                grant = self._grants[viewer] = await self._client.join(self._room, request)
        except (Refused, OSError, TimeoutError) as error:
            raise WhepError(f"the broker refused the join: {error}") from error
        return Seat(grant.whep_url, grant.session_token)

    async def free(self, viewer: int) -> None:
        """See `Seats`."""
        grant = self._grants.pop(viewer, None)
        if grant is not None:
            async with self._turn:
                await self._client.leave(grant)
