"""How an edge or a node takes its leave when it gets SIGTERM.

The first SIGTERM asks the broker to move the agent's work elsewhere. The process ends by itself once it has no work
left, and at the deadline at the latest, also when no broker answers; streams go on until then. A second SIGTERM, or
SIGINT at any time, ends it at once. SIGUSR1 calls the departure off.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable

import structlog
from aiohttp import web

from broker.agent import AgentLink
from broker.protocol import DrainRequested, Welcome

_log = structlog.get_logger(__name__)

POLL_INTERVAL_S = 0.1
LAST_WORDS_S = 0.5
"""The broker gets this much less time than the process, so that it can still have its work ended in good order."""


class Departure:
    """Decides what is asked of the broker and when the process may end. `drain_s`: how long it waits, in seconds."""

    def __init__(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self._deadline: float | None = None
        self._asked: Welcome | None = None

    @property
    def begun(self) -> bool:
        """Whether the process is about to leave."""
        return self._deadline is not None

    def begin(self, now: float) -> None:
        """The clock starts."""
        self._deadline = now + self._drain_s

    def call_off(self) -> DrainRequested | None:
        """Stay after all; what the broker is to be told, if it was asked."""
        was_asked = self._asked is not None
        self._deadline = self._asked = None
        return DrainRequested(deadline_s=0.0, cancelled=True) if was_asked else None

    def request(self, registered_by: Welcome | None, now: float) -> DrainRequested | None:
        """What the broker must be asked now: once for every registration, since each one forgets the last."""
        if self._deadline is None or registered_by is None or registered_by is self._asked:
            return None
        self._asked = registered_by
        return DrainRequested(deadline_s=max(0.0, self._deadline - LAST_WORDS_S - now))

    def is_over(self, *, idle: bool, obeyed: bool, now: float) -> bool:
        """Whether the process may end: time is up, or it has no work and will get none.

        `obeyed`: the broker has answered, or cannot be reached and so gives no work either.
        """
        return self._deadline is not None and (now >= self._deadline or (idle and obeyed))


class SignalledDeparture:
    """Feeds a `Departure` with signals. `link`, `idle` and `draining` tell how the agent stands at the moment."""

    def __init__(
        self,
        drain_s: float,
        *,
        link: Callable[[], AgentLink | None],
        idle: Callable[[], bool],
        draining: Callable[[], bool],
    ) -> None:
        self._departure = Departure(drain_s)
        self._link = link
        self._idle = idle
        self._draining = draining

    async def watch_signals(self, _: web.Application) -> AsyncIterator[None]:
        """For `Application.cleanup_ctx`: takes SIGTERM over from the runner, which goes on handling SIGINT."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._on_terminate)
        loop.add_signal_handler(signal.SIGUSR1, self._on_call_off)
        task = asyncio.create_task(self._watch())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        loop.remove_signal_handler(signal.SIGUSR1)

    def _on_terminate(self) -> None:
        if self._departure.begun:
            _end_process()
            return
        _log.info("departure_begun")
        self._departure.begin(time.monotonic())

    def _on_call_off(self) -> None:
        request = self._departure.call_off()
        if request is not None and (link := self._link()) is not None:
            _log.info("departure_called_off")
            link.tell(request)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            now, link = time.monotonic(), self._link()
            connected = link is not None and link.connected
            if link is not None and connected:
                request = self._departure.request(link.welcome, now)
                if request is not None:
                    link.tell(request)
            if self._departure.is_over(idle=self._idle(), obeyed=self._draining() or not connected, now=now):
                _end_process()
                return


def _end_process() -> None:
    """Have the runner stop in good order."""
    os.kill(os.getpid(), signal.SIGINT)
