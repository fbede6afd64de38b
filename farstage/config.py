"""Configuration: one TOML file, `FARSTAGE_*` variables, flags; a later one wins over an earlier one.

Precedence, weakest first: built-in defaults, the file (`--config`, else `FARSTAGE_CONFIG`, else `farstage.toml` in the
working folder if it exists), environment variables (`FARSTAGE_<SECTION>_<KEY>`, lists separated by commas, tables as
JSON), flags (`--set section.key=value` and each command's own). An unknown key is an error that names it, wherever it
stands.
"""

import os
import socket
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_origin

import msgspec
from msgspec import Meta, Struct, field

from broker.core.policies import POLICIES
from broker.core.prices import SitePrices, Weights
from edge.engine_choice import AUTO, CHOICES

ENVIRONMENT_PREFIX = "FARSTAGE_"
CONFIG_VARIABLE = "FARSTAGE_CONFIG"
DEFAULT_FILE = Path("farstage.toml")
Port = Annotated[int, Meta(ge=1, le=65_535)]
Seconds = Annotated[float, Meta(ge=0.0, le=86_400.0)]
HttpUrl = Annotated[str, Meta(pattern=r"^$|^https?://[^\s]{1,240}$")]
FanOut = Annotated[int, Meta(ge=1, le=64)]
TrunkUrl = Annotated[str, Meta(pattern=r"^$|^wss?://[^\s]{1,240}$")]


class ConfigError(Exception):
    """The configuration cannot be used; the message names the key, what is wrong and where it came from."""


class BrokerConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Section `broker`. `secret` (at least 32 characters) signs all tokens, `api_key` is the operator's.

    `policy` places viewers: best_value, lowest_latency, least_loaded, packed. `sites` are prices by region (`*` for all
    others), `weights` what they are worth in points of quality. `guest_joins_per_minute` is per address, and
    `trusted_proxies` are the networks of reverse proxies whose `X-Forwarded-For` names that address.
    `key_requests_per_minute` and `key_max_rooms` are those of API keys that have none of their own. Webhooks reach the
    public internet by https, and the `webhook_networks`; `webhook_http` lets them use plain http. The audit log keeps
    the last `audit_entries`. A node sends a view to `node_fan_out` edges at most, each of which passes it on to
    `edge_fan_out` others.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    public_url: HttpUrl = "http://127.0.0.1:8080"
    secret: str = ""
    api_key: str = ""
    store_url: str = "memory:"
    name: str = "broker"
    policy: str = "best_value"
    guest_joins_per_minute: Annotated[float, Meta(gt=0, le=1e6)] = 60.0
    trusted_proxies: list[str] = []
    key_requests_per_minute: Annotated[float, Meta(gt=0, le=1e6)] = 1200.0
    key_max_rooms: Annotated[int, Meta(ge=0, le=1_000_000)] = 1000
    webhook_networks: list[str] = []
    webhook_http: bool = False
    audit_entries: Annotated[int, Meta(ge=1_000, le=10_000_000)] = 100_000
    node_fan_out: FanOut = 4
    edge_fan_out: FanOut = 8
    sites: dict[str, SitePrices] = {}
    weights: Weights = Weights()
    max_fps: Annotated[int, Meta(ge=1, le=120)] = 30
    max_long_side: Annotated[int, Meta(ge=160, le=3840)] = 1280
    stage_layers: Annotated[int, Meta(ge=1, le=3)] = 3


class EdgeConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Section `edge`. Empty URLs follow from `host` and `port`; `host_addresses` are those offered in ICE.

    `engine`: auto, native, aiortc. `media_port`: UDP and TCP, 0 for a free one; `shards`: threads, 0 for one a core;
    `max_viewers` 0: 64 with aiortc, 1,000 a core with the native engine. `announced_addresses` are named in answers
    where the network translates addresses; `playout_delay_ms`: the most a browser may hold pictures back.
    """

    id: str = "edge-1"
    region: str = "local"
    host: str = "127.0.0.1"
    port: Port = 8081
    public_url: HttpUrl = ""
    trunk_url: TrunkUrl = ""
    broker_url: HttpUrl = "http://127.0.0.1:8080"
    token: str = ""
    engine: str = AUTO
    max_viewers: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    host_addresses: list[str] = []
    announced_addresses: list[str] = []
    media_port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    playout_delay_ms: Annotated[int, Meta(ge=0, le=40_000)] = 100
    shards: Annotated[int, Meta(ge=0, le=64)] = 0
    drain_s: Seconds | None = None


class NodeConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Section `node`. `renderer`: auto, cpu, wgpu; `barcode`: auto, always, never; `units` 0: as measured.

    `drain_s` as in section `edge`.
    """

    id: str = field(default_factory=lambda: f"node-{socket.gethostname()[:40]}".replace("_", "-"))
    region: str = "local"
    host: str = "127.0.0.1"
    port: Port = 8082
    broker_url: HttpUrl = "http://127.0.0.1:8080"
    token: str = ""
    renderer: str = "auto"
    barcode: str = "auto"
    scene_dirs: list[str] = []
    units: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    drain_s: Seconds | None = None


class LogConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Section `log`. `format`: `console` for people, `json` for machines; `level` as in the logging module."""

    format: str = "console"
    level: str = "info"


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration."""

    broker: BrokerConfig = BrokerConfig()
    edge: EdgeConfig = EdgeConfig()
    node: NodeConfig = field(default_factory=NodeConfig)
    log: LogConfig = LogConfig()


_SECTIONS = {section.name: section.type for section in msgspec.structs.fields(Config)}
_CHOICES = {
    ("broker", "policy"): POLICIES,
    ("node", "renderer"): ("auto", "cpu", "wgpu"),
    ("node", "barcode"): ("auto", "always", "never"),
    ("edge", "engine"): CHOICES,
    ("log", "format"): ("console", "json"),
    ("log", "level"): ("debug", "info", "warning", "error"),
}


def load(file: Path | None = None, environment: Mapping[str, str] | None = None, flags: Iterable[str] = ()) -> Config:
    """The configuration from all its sources; `flags` are `section.key=value`. Raises `ConfigError`."""
    environment = os.environ if environment is None else environment
    values: dict[str, dict[str, Any]] = {}
    _merge(values, _read_file(file, environment))
    for name, text in environment.items():
        if name.startswith(ENVIRONMENT_PREFIX) and name != CONFIG_VARIABLE:
            _set(values, *_split_variable(name), text, f"environment variable {name}")
    for flag in flags:
        path, separator, text = flag.partition("=")
        section, dot, key = path.partition(".")
        if not separator or not dot:
            raise ConfigError(f"--set {flag}: write it as section.key=value")
        _set(values, section.strip(), key.strip(), text, f"flag --set {path}")
    return _checked(values)


def _read_file(file: Path | None, environment: Mapping[str, str]) -> dict[str, Any]:
    named = file or (Path(environment[CONFIG_VARIABLE]) if environment.get(CONFIG_VARIABLE) else None)
    path = named or DEFAULT_FILE
    if named is None and not path.is_file():
        return {}
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"configuration file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {path}: {error}") from error
    for section, entries in document.items():
        if section not in _SECTIONS:
            raise ConfigError(f"configuration file {path}: unknown section [{section}]; known: {_known(_SECTIONS)}")
        if not isinstance(entries, dict):
            raise ConfigError(f"configuration file {path}: [{section}] must be a table")
        for key in entries:
            _check_key(section, key, f"configuration file {path}")
    return document


def _merge(values: dict[str, dict[str, Any]], document: Mapping[str, Mapping[str, Any]]) -> None:
    for section, entries in document.items():
        values.setdefault(section, {}).update(entries)


def _split_variable(name: str) -> tuple[str, str]:
    section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
    return section, key


def _set(values: dict[str, dict[str, Any]], section: str, key: str, text: str, source: str) -> None:
    if section not in _SECTIONS:
        raise ConfigError(f"{source}: unknown section {section!r}; known: {_known(_SECTIONS)}")
    field_type = _check_key(section, key, source)
    values.setdefault(section, {})[key] = _parse(field_type, text, source)


def _check_key(section: str, key: str, source: str) -> Any:
    fields = {entry.name: entry.type for entry in msgspec.structs.fields(_SECTIONS[section])}
    if key not in fields:
        raise ConfigError(f"{source}: unknown key {key!r} in [{section}]; known: {_known(fields)}")
    return fields[key]


def _parse(field_type: Any, text: str, source: str) -> Any:
    try:
        if _is_table(field_type):
            return msgspec.json.decode(text, type=field_type)
        value = [part.strip() for part in text.split(",") if part.strip()] if field_type == list[str] else text
        return msgspec.convert(value, field_type, strict=False)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{source}: {error}") from error


def _is_table(field_type: Any) -> bool:
    """Whether a key is a table of the file: a variable or flag gives it as JSON."""
    return get_origin(field_type) is dict or (isinstance(field_type, type) and issubclass(field_type, Struct))


def _checked(values: dict[str, dict[str, Any]]) -> Config:
    for (section, key), choices in _CHOICES.items():
        value = values.get(section, {}).get(key)
        if value is not None and value not in choices:
            raise ConfigError(f"{section}.{key} is {value!r}; it must be one of {', '.join(choices)}")
    try:
        return msgspec.convert(values, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"configuration: {error}") from error


def _known(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
