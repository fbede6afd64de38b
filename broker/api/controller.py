"""The shell around the core: the lock, the clock, the store and the agents' sockets.

Every event takes the same way: under one lock the core decides, the effects are carried out, and what changed is
written. While the store does not answer, decisions about what runs already go on with the last known state:
claims are granted here with a higher fence, changes wait, and the watch makes both good when it answers again.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
import structlog
from aiohttp import WSCloseCode
from msgspec.structs import replace

from broker.api.api_keys import ApiKeys
from broker.api.lead import Lead
from broker.api.links import AgentLink
from broker.api.metrics import BrokerMetrics
from broker.api.network_history import NetworkHistory
from broker.api.recent_moves import RecentMoves
from broker.api.schedules import in_core_time
from broker.api.settings import BrokerSettings
from broker.api.shelf import StoredPart
from broker.api.templates import Templates
from broker.api.ticket_news import TicketNews
from broker.api.webhooks import Webhooks
from broker.core.brain import Brain
from broker.core.effects import (
    AgentKey,
    AgentKind,
    AgentLost,
    Claim,
    Collection,
    Disconnect,
    Effect,
    JoinPlaced,
    JoinRefused,
    Persist,
    Release,
    Send,
    SessionEnded,
    TicketChanged,
    ViewMoved,
)
from broker.core.moves import MoveRecord
from broker.core.policies import policy_named
from broker.core.refusals import Refusal
from broker.core.reoptimisation import solve
from broker.core.state import AgentRecord, EdgeRecord, NodeRecord, RoomRecord, SessionRecord, UsageRecord, ViewRecord
from broker.core.tickets import TicketRecord
from broker.protocol import AUDIENCE_TRUNK, BrokerMessage, PutRelay, PutView, TrunkTarget, encode
from broker.store.interface import ClaimOrder, RecordKey, ReleaseOrder, Store, StoredClaim, StoreUnavailable
from broker.tokens import TokenAuthority, TokenVerifier

log = structlog.get_logger("broker")

RENEWALS_AT_ONCE = 64
CLOCK_SET_S = 1.0
"""By how much the clock on the wall must run ahead of or behind the monotonic one for schedules to be timed anew."""
STORE_AWAY = -1
"""Instead of a fence: the store does not answer."""
TRUNK_TOKEN_REUSED_S = 60.0
"""A node that takes a thousand views over gets one token for each edge, not a thousand."""
MAX_TRUNK_TOKENS_KEPT = 10_000
"""Stops a fleet of ever new names from filling memory."""

T = TypeVar("T")


class StandingBy(Exception):
    """This broker does not decide: it waits for its store or for another broker's lead."""


@dataclass(slots=True)
class Outcome:
    """What a step did to the joins and tickets in it, which agents it took for dead, and which views it moved."""

    placed: set[str] = field(default_factory=set)
    refused: dict[str, Refusal] = field(default_factory=dict)
    tickets: list[str] = field(default_factory=list)
    """Of waiting rooms, changed."""
    lost: list[AgentLost] = field(default_factory=list)
    moved: list[ViewMoved] = field(default_factory=list)


class Controller:
    """Runs one broker. `now` is monotonic, `unix_now` wall-clock; tests may give their own."""

    def __init__(
        self,
        settings: BrokerSettings,
        store: Store,
        now: Callable[[], float] = time.monotonic,
        unix_now: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.metrics = BrokerMetrics()
        self.authority = TokenAuthority(settings.secret)
        self.verifier = TokenVerifier(self.authority.public_key_pem)
        self.brain = self._new_brain()
        self.now = now
        self.unix_now = unix_now
        self._wall_ahead_s = unix_now() - now()
        self.store_ready = False
        self._told_store_ready: bool | None = None
        self.restored = False
        self.ticket_news = TicketNews()
        self.moves = RecentMoves()
        self._store = store
        self._lock = asyncio.Lock()
        self._links: dict[AgentKey, AgentLink] = {}
        self._trunk_tokens: dict[tuple[str, str], tuple[str, float]] = {}
        """By source and edge, with the Unix time they were made."""
        self._dirty: set[RecordKey] = set()
        self._lead = Lead(store, f"{settings.name}-{secrets.token_hex(6)}", settings.lead_ttl_s, now())
        self._looking = asyncio.Lock()
        """Held by who finds out how the store and the lead stand."""
        self._highest_fence = 0
        """Of all fences seen here: later ones are higher, even if the store has forgotten it gave them."""
        self.observers: list[Callable[[Effect], None]] = []
        """Told of every effect, in order and under the lock; they must neither wait nor fail."""
        self.api_keys = ApiKeys(settings)
        self.templates = Templates()
        self.webhooks = Webhooks(settings, lambda: self.unix_now())
        self.observers.append(self.webhooks.observe)
        self._history = NetworkHistory(lambda: self.brain.state.telemetry.networks)
        self._parts: tuple[StoredPart, ...] = (
            self.api_keys, self.templates, self.webhooks.deliveries, self.webhooks, self._history,
        )  # fmt: skip

    def _new_brain(self) -> Brain:
        core = self.settings.core
        return Brain(core, policy_named(self.settings.policy, core.values))

    # --- Steps ------------------------------------------------------------------------------------------

    async def step(self, decide: Callable[[], list[Effect]]) -> Outcome:
        """Let the core decide and carry out what it asks for. Raises `Refusal` as `decide` does, and `StandingBy`."""
        async with self._deciding():
            began = self.now()
            outcome = await self._carry_out(decide())
            self._tell_of(outcome, began)
            return outcome

    @asynccontextmanager
    async def _deciding(self) -> AsyncIterator[None]:
        """The lock, for a broker that leads. Raises `StandingBy`."""
        await self.confirm_lead()
        async with self._lock:
            if not self.restored:
                raise StandingBy
            yield

    def _tell_of(self, outcome: Outcome, began: float) -> None:
        """Log and count what operators ask about after a failure: who was lost, and how soon all were placed again."""
        seconds = self.now() - began
        views = self.brain.state.views
        for lost in outcome.lost:
            homeless = [name for name in lost.views if name in views and views[name].node is None]
            log.warning(
                "agent lost", agent=str(lost.agent), views=len(lost.views), homeless=len(homeless), seconds=seconds
            )
            self.metrics.lost_agents.labels(lost.agent.kind.value).inc()
            if lost.views:
                self.metrics.replacement_seconds.observe(seconds)
        self.moves.note(outcome.moved, self.brain.state, self.unix_now())
        for node, count in Counter(moved.node for moved in outcome.moved).items():
            self.metrics.placements.labels("moved").inc(count)
            log.info("views moved", node=node, views=count)

    async def change(self, make: Callable[[], T]) -> T:
        """Change records beside the core's under the lock, and write them. Raises what `make` does and `StandingBy`."""
        async with self._deciding():
            made = make()
            await self._write()
            return made

    async def _carry_out(self, effects: list[Effect]) -> Outcome:
        outcome = Outcome()
        fences = await self._settle([effect for effect in effects if isinstance(effect, Claim | Release)])
        pending = deque(effects)
        while pending:
            effect = pending.popleft()
            if isinstance(effect, Claim | Release):
                if id(effect) not in fences:
                    fences |= await self._settle([effect])
                pending.extendleft(reversed(self._answer(effect, fences.pop(id(effect)))))
            else:
                await self._carry_out_one(effect, outcome)
        await self._write()
        return outcome

    async def _carry_out_one(self, effect: Effect, outcome: Outcome) -> None:
        for observe in self.observers:
            observe(effect)
        match effect:
            case Send():
                self._send(effect.agent, effect.message)
            case Disconnect():
                self.unlink(effect.agent, WSCloseCode.GOING_AWAY, "no heartbeat")
            case Persist():
                self._dirty.add((effect.collection.value, effect.key))
            case JoinPlaced():
                outcome.placed.add(effect.session)
            case JoinRefused():
                outcome.refused[effect.session] = effect.refusal
            case SessionEnded():
                self.metrics.ended.labels(effect.reason.value).inc()
                log.info("session ended", session=effect.session, room=effect.room, reason=effect.reason.value)
            case TicketChanged():
                outcome.tickets.append(effect.ticket)
                self.ticket_news.tell(effect.ticket)
                log.info("ticket changed", ticket=effect.ticket, room=effect.room, state=effect.state.value)
            case ViewMoved():
                outcome.moved.append(effect)
                log.debug("view moved", view=effect.view, node=effect.node)
            case AgentLost():
                outcome.lost.append(effect)

    # --- Claims -----------------------------------------------------------------------------------------

    async def _settle(self, effects: Sequence[Claim | Release]) -> dict[int, int | None]:
        """Ask the store for all of these in one go: what it answered, by the effect's `id`."""
        orders = [_order(effect, self._highest_fence) for effect in effects]
        try:
            answers = await self._ask_store(orders) if orders else []
        except StoreUnavailable:
            return {id(effect): STORE_AWAY for effect in effects}
        return {id(effect): answer for effect, answer in zip(effects, answers, strict=True)}

    async def _ask_store(self, orders: list[ClaimOrder | ReleaseOrder]) -> list[int | None]:
        return await self.use_store(lambda: self._store.settle(orders, self.settings.claim_ttl_s, self.unix_now()))

    def _answer(self, effect: Claim | Release, fence: int | None) -> list[Effect]:
        """Tell the core how a claim went. While the store is away this broker gives the fences itself."""
        if isinstance(effect, Release):
            if fence == STORE_AWAY:
                log.warning("claim left to expire", pool=effect.pool, key=effect.key)
            return []
        if fence is None:
            return self.brain.claim_refused(effect.pool, effect.key, self.now())
        granted = max(effect.fence_floor, self._highest_fence) + 1 if fence == STORE_AWAY else fence
        self._highest_fence = max(self._highest_fence, granted)
        return self.brain.claim_granted(effect.pool, effect.key, granted)

    async def renew_claims(self) -> None:
        """Prolong every claim; what others hold meanwhile is placed again."""
        claims = [
            StoredClaim(pool=pool, key=key, amount=entry.amount, fence=entry.fence, expires_at=0.0)
            for pool, key, entry in self.brain.state.ledger.entries()
            if entry.fence and self.leads
        ]
        for start in range(0, len(claims), RENEWALS_AT_ONCE):
            chunk = claims[start : start + RENEWALS_AT_ONCE]
            kept = await asyncio.gather(*(self._renew(claim) for claim in chunk))
            for claim in [claim for claim, is_kept in zip(chunk, kept, strict=True) if not is_kept]:
                await self._lose_claim(claim)

    async def _renew(self, claim: StoredClaim) -> bool:
        kind, _, name = claim.pool.partition(":")
        agents: dict[str, NodeRecord] | dict[str, EdgeRecord]
        agents = self.brain.state.nodes if kind == "node" else self.brain.state.edges
        agent = agents.get(name)
        capacity = claim.amount if agent is None else agent.capacity
        return await self.use_store(
            lambda: self._store.renew(claim, capacity, self.settings.claim_ttl_s, self.unix_now())
        )

    async def _lose_claim(self, claim: StoredClaim) -> None:
        entry = self.brain.state.ledger.get(claim.pool, claim.key)
        if entry is not None and entry.fence == claim.fence:
            log.warning("claim lost", pool=claim.pool, key=claim.key)
            await self.step(lambda: self.brain.claim_lost(claim.pool, claim.key, self.now()))

    async def meter(self) -> None:
        """Count what is used."""
        day = datetime.fromtimestamp(self.unix_now(), UTC).date().isoformat()
        self._history.note(self.now())
        await self.step(lambda: self.brain.meter(self.now(), day))

    async def reoptimise(self) -> None:
        """Think the whole assignment over in a thread, and make the moves that pay."""
        problem = self.brain.reoptimisation(self.now()) if self.restored else None
        if problem is None:
            return
        begun = time.perf_counter()
        moves = await asyncio.to_thread(solve, problem)
        self.metrics.reoptimisation_s.set(time.perf_counter() - begun)
        if moves:
            await self.step(lambda: self.brain.move_rooms(moves, self.now()))

    # --- The store --------------------------------------------------------------------------------------

    async def use_store(self, call: Callable[[], Awaitable[T]]) -> T:
        """Ask the store; raises `StoreUnavailable` at once while it is known not to answer."""
        if not self.store_ready:
            raise StoreUnavailable("the store has not answered since the last attempt")
        try:
            return await call()
        except StoreUnavailable as error:
            self._note_store(False, str(error))
            raise

    @property
    def store(self) -> Store:
        """The store itself; call it through `use_store`."""
        return self._store

    def _note_store(self, ready: bool, why: str = "") -> None:
        if ready != self._told_store_ready:
            log.log(logging.INFO if ready else logging.WARNING, "store", ready=ready, why=why)
        self.store_ready = self._told_store_ready = ready
        self.metrics.store_ready.set(ready)

    async def _write(self) -> None:
        if not self.store_ready:
            return
        dirty = set(self._dirty)
        beside = {key: record for part in self._parts for key, record in part.take_changes().items()}
        changes = {key: self._record(*key) for key in dirty} | beside
        if not changes:
            return
        try:
            await self.use_store(lambda: self._store.save(changes))
        except BaseException as error:
            for part in self._parts:
                part.give_back(beside)
            if isinstance(error, StoreUnavailable):
                return
            raise
        self._dirty -= dirty

    def _record(self, collection: str, key: str) -> bytes | None:
        """The record as JSON, without the sets that `Brain.restore` derives again."""
        state = self.brain.state
        record: RoomRecord | SessionRecord | ViewRecord | UsageRecord | TicketRecord | MoveRecord | None
        match Collection(collection):
            case Collection.ROOMS:
                room = state.rooms.get(key)
                record = room and replace(room, sessions=set(), views=set(), tickets=[])
            case Collection.SESSIONS:
                record = state.sessions.get(key)
            case Collection.VIEWS:
                view = state.views.get(key)
                record = view and replace(view, sessions=set())
            case Collection.USAGE:
                record = state.usage.get(key)
            case Collection.TICKETS:
                record = state.tickets.get(key)
            case Collection.MOVES:
                record = state.moves.get(key)
        return None if record is None else msgspec.json.encode(record)

    def _mark_everything_dirty(self) -> None:
        """A store that was away may have lost what it held."""
        state = self.brain.state
        self._dirty |= {(Collection.ROOMS.value, name) for name in state.rooms}
        self._dirty |= {(Collection.SESSIONS.value, name) for name in state.sessions}
        self._dirty |= {(Collection.VIEWS.value, name) for name in state.views}
        self._dirty |= {(Collection.USAGE.value, name) for name in state.usage}
        self._dirty |= {(Collection.TICKETS.value, name) for name in state.tickets}
        self._dirty |= {(Collection.MOVES.value, name) for name in state.moves}
        for part in self._parts:
            part.mark_all()

    async def probe_store(self) -> None:
        """Find out whether the store answers; the first time, take over what it holds; later, catch up."""
        async with self._looking:
            must_catch_up = await self._look()
        if must_catch_up:
            await self._catch_up()

    async def _look(self) -> bool:
        """Find out how the store and the lead stand; whether this broker leads and the store may lack something."""
        was_ready = self.store_ready
        try:
            is_new = await self._lead.find_store(self.now())
            leads = await self._lead.hold(self.now(), self.unix_now())
            if leads != self.restored:
                await (self._restore() if leads else self._step_down())
        except StoreUnavailable as error:
            self._note_store(False, str(error))
            self._lead.ask_later(self.now())
            return False
        self._note_store(True)
        return leads and (is_new or not was_ready)

    @property
    def leads(self) -> bool:
        """Whether this broker decides, as far as it knows without asking the store."""
        return self.restored and not self._lead.may_be_gone(self.now())

    async def confirm_lead(self) -> bool:
        """Whether this broker decides; if it stood still it asks the store first."""
        if self._lead.may_be_gone(self.now()):
            async with self._looking:
                must_catch_up = self._lead.may_be_gone(self.now()) and await self._look()
            if must_catch_up:
                await self._catch_up()
        return self.restored

    async def _catch_up(self) -> None:
        async with self._lock:
            self._mark_everything_dirty()
            await self._write()
        await self.record_agents()
        await self.renew_claims()

    async def _step_down(self) -> None:
        log.warning("another broker has taken over; standing by")
        async with self._lock:
            self.restored = False
            self._dirty.clear()
            for part in self._parts:
                part.forget()
            self.brain = self._new_brain()
            self.close_links()

    async def close(self) -> None:
        """Write what is not written yet, make way for another broker and let go of the store."""
        if self.restored:
            async with self._lock:
                await self._write()
        with suppress(StoreUnavailable):
            await self.use_store(self._lead.give_up)
        await self._store.close()

    async def _restore(self) -> None:
        rooms = await self._store.load(Collection.ROOMS.value)
        views = await self._store.load(Collection.VIEWS.value)
        usage = await self._store.load(Collection.USAGE.value)
        sessions = await self._store.load(Collection.SESSIONS.value)
        tickets = await self._store.load(Collection.TICKETS.value)
        moves = await self._store.load(Collection.MOVES.value)
        agents = await self._store.agents(self.unix_now())
        beside = [(part, await self._store.load(part.collection)) for part in self._parts]
        async with self._lock:
            for part, records in beside:
                part.restore(records)
            self.brain.restore(
                [self._decode_room(raw) for raw in rooms.values()],
                (msgspec.json.decode(raw, type=ViewRecord) for raw in views.values()),
                (msgspec.json.decode(raw, type=SessionRecord) for raw in sessions.values()),
                [_decode_agent(name, raw) for name, raw in agents.items()],
                self.now(),
                [msgspec.json.decode(raw, type=TicketRecord) for raw in tickets.values()],
                [msgspec.json.decode(raw, type=UsageRecord) for raw in usage.values()],
                [msgspec.json.decode(raw, type=MoveRecord) for raw in moves.values()],
            )
            self.restored = True
            held = (entry.fence for _, _, entry in self.brain.state.ledger.entries())
            self._highest_fence = max(self._highest_fence, *held, 0)
        log.info("state taken over from the store", rooms=len(rooms), sessions=len(sessions), agents=len(agents))

    def _decode_room(self, raw: bytes) -> RoomRecord:
        """A stored room, its schedule in the seconds of this process."""
        room = msgspec.json.decode(raw, type=RoomRecord)
        room.schedule = in_core_time(room.schedule, self.unix_now(), self.now())
        return room

    async def record_agents(self) -> None:
        """Tell the store which agents are connected here."""
        await self._put_agents(self.brain.state.agents())

    async def record_newcomer(self, key: AgentKey) -> None:
        """Tell the store at once of an agent that has registered; while the store is away `record_agents` will."""
        state = self.brain.state
        agent = state.nodes.get(key.name) if key.kind is AgentKind.NODE else state.edges.get(key.name)
        with suppress(StoreUnavailable):
            await self._put_agents([] if agent is None else [agent])

    async def _put_agents(self, agents: Iterable[AgentRecord]) -> None:
        records = {str(agent.key): msgspec.json.encode(agent) for agent in agents if agent.connected}
        expires_at = self.unix_now() + self.settings.agent_ttl_s
        await self.use_store(lambda: self._store.put_agents(records, expires_at))

    # --- Agents' sockets --------------------------------------------------------------------------------

    def link(self, link: AgentLink) -> None:
        """Commands for this agent go here from now on; an older connection is closed."""
        self.unlink(link.key, WSCloseCode.POLICY_VIOLATION, "replaced by a newer connection")
        self._links[link.key] = link

    def unlink(self, key: AgentKey, code: WSCloseCode, reason: str) -> None:
        """Close an agent's connection, if there is one."""
        if (link := self._links.pop(key, None)) is not None:
            link.close(code, reason)

    def forget(self, link: AgentLink) -> None:
        """This connection is over; a newer one of the same agent stays."""
        if self.is_linked(link):
            del self._links[link.key]
        link.stop()

    def is_linked(self, link: AgentLink) -> bool:
        """Whether this connection is still the agent's current one."""
        return self._links.get(link.key) is link

    def close_links(self) -> None:
        """Shut down: tell all agents to connect elsewhere."""
        for key in list(self._links):
            self.unlink(key, WSCloseCode.GOING_AWAY, "the broker is shutting down")

    def _send(self, agent: AgentKey, message: BrokerMessage) -> None:
        match message:
            case PutView() | PutRelay():
                message = replace(message, targets=self._with_trunk_tokens(message.targets, agent.name))
        payload = encode(message)
        if (link := self._links.get(agent)) is not None:
            link.send(payload)
        else:
            log.debug("command dropped: the agent is told everything when it registers", agent=str(agent))

    def _with_trunk_tokens(self, targets: list[TrunkTarget], source: str) -> list[TrunkTarget]:
        return [replace(target, token=self._trunk_token(source, target.edge)) for target in targets]

    def _trunk_token(self, source: str, edge: str) -> str:
        """A token for this trunk; the same one for a while, as signing costs more than all else of a command."""
        ttl_s, now = self.settings.trunk_token_ttl_s, self.unix_now()
        token, minted = self._trunk_tokens.get((source, edge), ("", float("-inf")))
        if not 0.0 <= now - minted < min(TRUNK_TOKEN_REUSED_S, ttl_s / 2):
            token = self.authority.mint(AUDIENCE_TRUNK, source, ttl_s, now, edge=edge)
            if len(self._trunk_tokens) >= MAX_TRUNK_TOKENS_KEPT:
                self._trunk_tokens.clear()
            self._trunk_tokens[source, edge] = token, now
        return token

    async def watch(self) -> None:
        """Let the core notice who is dead."""
        if self.restored:
            await self.step(lambda: self.brain.watch(self.now()))

    async def tick(self) -> None:
        """Let the core notice that time has passed."""
        if self.restored:
            await self.step(lambda: [*self._follow_wall_clock(), *self.brain.tick(self.now())])

    def _follow_wall_clock(self) -> list[Effect]:
        """Rooms open and close by the clock on the wall, also when that was set or the machine has slept."""
        unix_now, now = self.unix_now(), self.now()
        if abs(unix_now - now - self._wall_ahead_s) < CLOCK_SET_S:
            return []
        self._wall_ahead_s = unix_now - now
        rooms = self.brain.state.rooms.values()
        return self.brain.reschedule({r.room: in_core_time(r.schedule, unix_now, now) for r in rooms})


def _order(effect: Claim | Release, highest_fence: int) -> ClaimOrder | ReleaseOrder:
    if isinstance(effect, Release):
        return ReleaseOrder(effect.pool, effect.key, effect.fence)
    return ClaimOrder(effect.pool, effect.key, effect.amount, effect.capacity, max(effect.fence_floor, highest_fence))


def _decode_agent(name: str, raw: bytes) -> AgentRecord:
    if name.startswith("node:"):
        return msgspec.json.decode(raw, type=NodeRecord)
    return msgspec.json.decode(raw, type=EdgeRecord)
