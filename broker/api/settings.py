"""How a broker is configured."""

from dataclasses import dataclass, field
from pathlib import Path

from broker.api.client_address import parse_networks
from broker.api.webhook_retry import RetryPolicy
from broker.core.policies import policy_named
from broker.core.state import CoreSettings
from broker.tokens import MIN_SECRET_BYTES

MIN_API_KEY_CHARACTERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """Settings of one broker; times in seconds. Raises `ValueError` naming the setting and the remedy."""

    secret: bytes
    """Signs all tokens; the same for all brokers of a deployment; at least 32 random bytes."""
    api_key: str
    """The operator's bearer key; at least 16 characters."""
    store_url: str = "memory:"
    """`memory:` or `redis://...`, `rediss://...`, `unix://...`."""
    public_url: str = "http://127.0.0.1:8080"
    """Where people's browsers reach this broker; join links begin with it."""
    web_root: Path | None = None
    """Static files: `/` is `index.html`, `/operator` is `operator.html`."""
    name: str = "broker"
    policy: str = "best_value"
    core: CoreSettings = field(default_factory=CoreSettings)
    tick_interval_s: float = 0.2
    watch_interval_s: float = 0.05
    """How often the fleet is searched for the dead; adds as much to the time until a death by silence is known."""
    register_timeout_s: float = 5.0
    agent_silence_s: float = 15.0
    """After this long without a message an agent's socket is closed."""
    agent_write_limit_s: float = 5.0
    """An agent that does not take a command for this long is cut off."""
    body_timeout_s: float = 10.0
    """How long a client may take to send a body: stops slow senders from holding connections."""
    session_token_ttl_s: float = 86_400.0
    trunk_token_ttl_s: float = 604_800.0
    """Long, because a node presents it again whenever a trunk is re-made."""
    claim_ttl_s: float = 30.0
    agent_ttl_s: float = 600.0
    """How long the store remembers an agent: a broker that takes over within that time knows whom to wait for."""
    lead_ttl_s: float = 5.0
    """How long after a broker died another one over the same store takes over."""
    store_probe_interval_s: float = 0.5
    guest_joins_per_minute: float = 60.0
    """Joins without a token from one address: stops one machine from filling open rooms. The address is that of
    the TCP peer, or whom `trusted_proxies` name."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks of reverse proxies whose `X-Forwarded-For` is believed: anybody else could invent addresses with it
    and so escape the limit."""

    key_requests_per_minute: float = 1200.0
    """Of one API key or operator token, unless the key says otherwise: stops a program that runs wild from keeping the
    broker busy. The root key has no such limit, so that it still opens when everything else is refused."""
    key_max_rooms: int = 1000
    """Rooms of one API key at a time, unless the key says otherwise: stops one key from using up all rooms."""
    webhook_networks: tuple[str, ...] = ()
    """Networks beyond the public internet that webhooks may reach: who may make a webhook could else have the broker
    call what only it can reach."""
    webhook_http: bool = False
    """Whether webhooks may go to http URLs, where anybody on the way reads them."""
    webhook_timeout_s: float = 15.0
    """What a receiver gets for one request, from resolving its name to the answer's status."""
    webhook_retry: RetryPolicy = field(default_factory=RetryPolicy)
    audit_entries: int = 100_000
    """How many entries the audit log keeps; the oldest go first."""

    def __post_init__(self) -> None:
        if len(self.secret) < MIN_SECRET_BYTES:
            raise ValueError(f"secret: {len(self.secret)} bytes; give at least {MIN_SECRET_BYTES} random ones")
        if len(self.api_key) < MIN_API_KEY_CHARACTERS:
            raise ValueError(f"api_key: {len(self.api_key)} characters; give at least {MIN_API_KEY_CHARACTERS}")
        policy_named(self.policy, self.core.values)
        if self.guest_joins_per_minute <= 0:
            raise ValueError(f"guest_joins_per_minute: {self.guest_joins_per_minute:g}; give more than 0")
        if self.key_requests_per_minute <= 0:
            raise ValueError(f"key_requests_per_minute: {self.key_requests_per_minute:g}; give more than 0")
        if self.key_max_rooms < 0:
            raise ValueError(f"key_max_rooms: {self.key_max_rooms}; give 0 or more")
        try:
            parse_networks(self.trusted_proxies)
        except ValueError as error:
            raise ValueError(f"trusted_proxies: {error}; write networks such as 10.0.0.0/8") from error
        try:
            parse_networks(self.webhook_networks)
        except ValueError as error:
            raise ValueError(f"webhook_networks: {error}; write networks such as 10.0.0.0/8") from error
        if self.audit_entries < 1:
            raise ValueError(f"audit_entries: {self.audit_entries}; give 1 or more")
        if self.web_root is not None and not self.web_root.is_dir():
            raise ValueError(f"web_root: {self.web_root} is not a directory")

    @property
    def heartbeat_interval_s(self) -> float:
        """How often agents report."""
        return self.core.heartbeat_interval_s
