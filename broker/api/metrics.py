"""What the broker counts, in Prometheus' text format."""

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from broker.core.experience import experienced_quality
from broker.core.quality import GOOD
from broker.core.state import State
from broker.core.wanted import scaling
from broker.protocol import AgentState, SessionState


class BrokerMetrics:
    """One registry per application, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.rooms = Gauge("farstage_rooms", "Open rooms", registry=self.registry)
        self.sessions = Gauge("farstage_sessions", "Sessions by state", ["state"], registry=self.registry)
        self.agents = Gauge("farstage_agents", "Nodes and edges by state", ["kind", "state"], registry=self.registry)
        self.placements = Counter(
            "farstage_placements", "Placements by result: placed, moved, or the refusal", ["result"],
            registry=self.registry,
        )  # fmt: skip
        self.placement_seconds = Histogram(
            "farstage_placement_seconds", "From join request to placed session", registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
        )  # fmt: skip
        self.lost_agents = Counter(
            "farstage_agents_lost", "Nodes and edges taken for dead", ["kind"], registry=self.registry
        )
        self.replacement_seconds = Histogram(
            "farstage_replacement_seconds", "From a node's death being known to new places for all of its views",
            registry=self.registry, buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
        )  # fmt: skip
        self.ended = Counter("farstage_sessions_ended", "Sessions ended by reason", ["reason"], registry=self.registry)
        self.refused = Counter("farstage_requests_refused", "Requests by problem", ["problem"], registry=self.registry)
        self.malformed = Counter(
            "farstage_messages_malformed", "Malformed messages by where they came from", ["source"],
            registry=self.registry,
        )  # fmt: skip
        self.tokens_refused = Counter(
            "farstage_tokens_refused", "Tokens refused by reason", ["reason"], registry=self.registry
        )
        self.webhooks = Counter(
            "farstage_webhooks", "Attempts to deliver webhooks by result: delivered, failed, given-up", ["result"],
            registry=self.registry,
        )  # fmt: skip
        self.audit_lost = Counter(
            "farstage_audit_entries_lost", "Entries of the audit log that could not be kept", registry=self.registry
        )
        self.faults = Counter("farstage_faults", "Errors nobody expected; each is in the log", registry=self.registry)
        self.wanted = Gauge(
            "farstage_agents_wanted", "Nodes and edges that keep three quarters of themselves in use", ["kind"],
            registry=self.registry,
        )  # fmt: skip
        self.quality = Gauge(
            "farstage_quality", "Mean quality that viewers experience, 0 to 100", registry=self.registry
        )
        self.below_good = Gauge(
            "farstage_viewers_below_good", "Viewers whose quality is less than good", registry=self.registry
        )
        self.waiting = Gauge(
            "farstage_waiting", "Tickets by what they wait for: a host, or a place", ["waits_for"],
            registry=self.registry,
        )  # fmt: skip
        self.reports_refused = Gauge(
            "farstage_reports_refused_total", "Reports of edges that were refused, by cause", ["cause"],
            registry=self.registry,
        )  # fmt: skip
        self.reoptimisation_s = Gauge(
            "farstage_reoptimisation_seconds", "How long the last look at the whole assignment took",
            registry=self.registry,
        )  # fmt: skip
        self.store_ready = Gauge("farstage_store_ready", "Whether the store answers", registry=self.registry)

    def expose(self, state: State, now: float) -> bytes:
        """The exposition text, with the gauges set from `state` as of `now`."""
        self.rooms.set(len(state.rooms))
        wanted = scaling(state, now)
        self.wanted.labels("node").set(wanted.nodes.wanted)
        self.wanted.labels("edge").set(wanted.edges.wanted)
        measured = (experienced_quality(state, session) for session in state.sessions.values())
        qualities = [quality for quality in measured if quality is not None]
        self.quality.set(sum(qualities) / len(qualities) if qualities else math.nan)
        self.below_good.set(sum(quality < GOOD for quality in qualities))
        queued = sum(len(queue.tickets) for queue in state.queues.values())
        self.waiting.labels("host").set(len(state.tickets) - queued)
        self.waiting.labels("capacity").set(queued)
        for cause, count in state.telemetry.refused.items():
            self.reports_refused.labels(cause.value).set(count)
        for session_state in SessionState:
            count = sum(s.state is session_state for s in state.sessions.values())
            self.sessions.labels(session_state.value).set(count)
        for agent_state in AgentState:
            nodes = sum(n.state is agent_state for n in state.nodes.values())
            edges = sum(e.state is agent_state for e in state.edges.values())
            self.agents.labels("node", agent_state.value).set(nodes)
            self.agents.labels("edge", agent_state.value).set(edges)
        return generate_latest(self.registry)
