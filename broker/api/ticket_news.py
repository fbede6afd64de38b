"""Polls that wait: who holds a ticket of a waiting room is woken when it changes."""

import asyncio


class TicketNews:
    """At most one waiting poll for each ticket: a newer one wakes the older, so tickets bound the polls held open."""

    def __init__(self) -> None:
        self._polls: dict[str, asyncio.Future[None]] = {}

    async def wait(self, ticket: str, timeout_s: float) -> None:
        """Return when `tell` names this ticket, a newer poll for it comes, or `timeout_s` have passed."""
        self.tell(ticket)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._polls[ticket] = woken
        try:
            await asyncio.wait([woken], timeout=timeout_s)
        finally:
            if self._polls.get(ticket) is woken:
                del self._polls[ticket]

    def tell(self, ticket: str) -> None:
        """This ticket has changed."""
        if (woken := self._polls.pop(ticket, None)) is not None and not woken.done():
            woken.set_result(None)

    def close(self) -> None:
        """Wake everybody: the broker is shutting down."""
        for ticket in list(self._polls):
            self.tell(ticket)
