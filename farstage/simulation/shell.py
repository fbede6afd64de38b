"""The broker: its real core, with a shell that carries effects out at once and in virtual time."""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from functools import partial

from broker.core.brain import Brain
from broker.core.effects import (
    AgentKey,
    AgentLost,
    Claim,
    Disconnect,
    Effect,
    JoinRefused,
    Release,
    Send,
    SessionEnded,
    ViewMoved,
)
from broker.core.policies import policy_named
from broker.core.prices import SitePrices, Values
from broker.core.refusals import Refusal
from broker.core.state import CoreSettings
from broker.core.validation import validate_state
from broker.protocol import BrokerMessage, EndReason
from farstage.simulation.book import Book
from farstage.simulation.layout import sites_of
from farstage.simulation.scenario import Scenario, Site

MOVED_BY = {"drains": "drain", "ticks": "drain"}
"""Why views move while no node is lost, by what the core was asked: a tick goes on with drains."""


class Shell:
    """Feeds the core. What it asks for goes to the listeners, which whoever runs the simulation sets."""

    def __init__(self, scenario: Scenario, policy: str, now: Callable[[], float]) -> None:
        settings = core_settings(scenario)
        self._now = now
        self.brain = Brain(settings, policy_named(policy, settings.values))
        self.book = Book()
        self.moves: Counter[str] = Counter()
        """Views moved, by why."""
        self.core_s: defaultdict[str, float] = defaultdict(float)
        """Real seconds spent in the core, by what it was asked."""
        self.validates = False
        """Whether the core's state is checked after every step."""
        self.on_command: Callable[[AgentKey, BrokerMessage], None] = lambda agent, message: None
        self.on_disconnect: Callable[[AgentKey], None] = lambda agent: None
        self.on_lost: Callable[[AgentKey], None] = lambda agent: None
        self.on_ended: Callable[[str, EndReason], None] = lambda session, reason: None

    def step(self, why: str, decide: Callable[[], list[Effect]]) -> dict[str, Refusal]:
        """Let the core decide and carry it out; who was refused a place after all. Raises `Refusal` as `decide`."""
        effects = self._timed(why, decide)
        if not effects:
            return {}
        refused = self._carry_out_all(effects, _reason(why, effects))
        if self.validates:
            validate_state(self.brain.state)
        return refused

    def _timed(self, what: str, decide: Callable[[], list[Effect]]) -> list[Effect]:
        begun = time.perf_counter()
        try:
            return decide()
        finally:
            self.core_s[what] += time.perf_counter() - begun

    def _carry_out_all(self, effects: list[Effect], reason: str) -> dict[str, Refusal]:
        refused: dict[str, Refusal] = {}
        pending = deque(effects)
        while pending:
            effect = pending.popleft()
            match effect:
                case Claim():
                    pending.extendleft(reversed(self._timed("claims", partial(self._claim, effect))))
                case JoinRefused():
                    refused[effect.session] = effect.refusal
                case _:
                    self._carry_out(effect, reason)
        return refused

    def hear(self, why: str, key: AgentKey, message: object, now: float) -> None:
        """An agent's message. Raises `Refusal` when the broker does not know it."""
        self.step(why, lambda: self.brain.agent_message(key, message, now))

    def _claim(self, effect: Claim) -> list[Effect]:
        fence = self.book.claim(effect)
        if fence is None:
            return self.brain.claim_refused(effect.pool, effect.key, self._now())
        return self.brain.claim_granted(effect.pool, effect.key, fence)

    def _carry_out(self, effect: Effect, reason: str) -> None:
        match effect:
            case Send():
                self.on_command(effect.agent, effect.message)
            case Release():
                self.book.release(effect)
            case Disconnect():
                self.on_disconnect(effect.agent)
            case AgentLost():
                self.on_lost(effect.agent)
            case SessionEnded():
                self.on_ended(effect.session, effect.reason)
            case ViewMoved():
                self.moves[reason] += 1


def _reason(why: str, effects: list[Effect]) -> str:
    """Why views move in a step."""
    if any(isinstance(effect, AgentLost) and effect.views for effect in effects):
        return "failover"
    return MOVED_BY.get(why, why)


def core_settings(scenario: Scenario) -> CoreSettings:
    """The core's settings as the scenario has them."""
    sites = {each.name: _prices(scenario, site) for site in scenario.sites for each in sites_of(site)}
    return CoreSettings(
        heartbeat_interval_s=scenario.clock.heartbeat_s,
        reoptimise_every_s=scenario.clock.reoptimise_s,
        max_rooms=max(10_000, scenario.people),
        values=Values(sites=sites),
    )


def _prices(scenario: Scenario, site: Site) -> SitePrices:
    """What the operator would name for the site: power by the unit, of its nodes when they are full."""
    kinds = {kind.name: kind for kind in scenario.node_kinds}
    here = [(kinds[entry.kind], entry.count) for entry in scenario.nodes if entry.site == site.name]
    units = sum(kind.units * count for kind, count in here)
    watts = sum(kind.watts_full * count for kind, count in here)
    return SitePrices(
        price_per_unit_hour=site.price_per_unit_hour,
        watts_per_unit=watts / units if units else 0.0,
        pue=site.pue,
        grams_co2_per_kwh=site.grams_co2_per_kwh,
    )
