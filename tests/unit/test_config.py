from pathlib import Path

import pytest

from broker.api.keys import CONTROLLER, TRUSTED_PROXIES
from broker.core.policies import POLICIES
from edge.app import EDGE_PROCESS
from farstage.config import _CHOICES, Config, ConfigError, load
from farstage.roles import DRAIN_S, broker_app, edge_app, node_app, without_drain
from render_farm.app import NODE_PROCESS


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "farstage.toml"
    file.write_text('[broker]\nport = 1000\nhost = "file"\npublic_url = "http://file"\n')
    environment = {"FARSTAGE_BROKER_HOST": "environment", "FARSTAGE_BROKER_PUBLIC_URL": "http://environment"}
    config = load(file, environment, ["broker.public_url=http://flag"])
    assert (config.broker.port, config.broker.host, config.broker.public_url) == (1000, "environment", "http://flag")
    assert config.edge.port == 8081


def test_file_named_by_the_environment_is_read(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text("[node]\nunits = 2.5\n")
    assert load(environment={"FARSTAGE_CONFIG": str(file)}).node.units == 2.5


def test_lists_come_from_variables_too() -> None:
    config = load(environment={"FARSTAGE_NODE_SCENE_DIRS": "/a, /b"})
    assert config.node.scene_dirs == ["/a", "/b"]


@pytest.mark.parametrize(
    ("text", "environment", "flags", "words"),
    [
        ("[broker]\nprot = 1\n", {}, [], "'prot' in .broker."),
        ("[brker]\nport = 1\n", {}, [], "brker"),
        ("broker = 3\n", {}, [], "must be a table"),
        ('[broker]\nport = "many"\n', {}, [], "port"),
        ("[broker\n", {}, [], "farstage.toml"),
        ("", {"FARSTAGE_BROKER_PROT": "1"}, [], "FARSTAGE_BROKER_PROT"),
        ("", {"FARSTAGE_NOBODY": "1"}, [], "FARSTAGE_NOBODY"),
        ("", {"FARSTAGE_BROKER_PORT": "many"}, [], "FARSTAGE_BROKER_PORT"),
        ("", {}, ["broker.prot=1"], "broker.prot"),
        ("", {}, ["port"], "section.key=value"),
        ("", {}, ["node.renderer=gpu"], "auto, cpu, wgpu"),
        ("", {}, ["broker.policy=luck"], "least_loaded, lowest_latency, packed"),
        ("", {}, ["broker.port=80000"], "broker.port"),
        ("", {}, ["broker.max_fps=0"], "broker.max_fps"),
        ("", {}, ["edge.max_viewers=-1"], "edge.max_viewers"),
        ("", {}, ["node.units=nan"], "node.units"),
        ("", {}, ["broker.public_url=nowhere"], "broker.public_url"),
    ],
)
def test_unknown_or_wrong_key_is_an_error_that_names_it(
    tmp_path: Path, text: str, environment: dict[str, str], flags: list[str], words: str
) -> None:
    file = tmp_path / "farstage.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load(file, environment, flags)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load(tmp_path / "nowhere.toml", {})


BROKER_FLAGS = [f"broker.secret={'s' * 32}", f"broker.api_key={'k' * 16}"]


def test_broker_gets_the_name_policy_and_limits_of_the_configuration() -> None:
    flags = ["broker.name=north", "broker.policy=packed", "broker.guest_joins_per_minute=7"]
    flags += ["broker.webhook_networks=10.0.0.0/8,fd00::/8", "broker.webhook_http=true", "broker.audit_entries=5000"]
    config = load(environment={"FARSTAGE_BROKER_TRUSTED_PROXIES": "10.0.0.0/8, ::1"}, flags=[*BROKER_FLAGS, *flags])
    app = broker_app(config.broker)
    settings = app[CONTROLLER].settings
    assert (settings.name, settings.policy, settings.guest_joins_per_minute) == ("north", "packed", 7.0)
    assert (settings.webhook_networks, settings.webhook_http) == (("10.0.0.0/8", "fd00::/8"), True)
    assert settings.audit_entries == 5000
    assert [str(network) for network in app[TRUSTED_PROXIES]] == ["10.0.0.0/8", "::1/128"]


def test_every_policy_can_be_chosen() -> None:
    assert set(_CHOICES["broker", "policy"]) == set(POLICIES)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("broker.trusted_proxies=10.0.0.1/8", "broker.trusted_proxies: .*host bits"),
        ("broker.trusted_proxies=proxy", "broker.trusted_proxies: .*10.0.0.0/8"),
        ("broker.guest_joins_per_minute=0", "broker.guest_joins_per_minute: .*> 0"),
        ("broker.store_url=sqlite:", "broker.store_url"),
        ("broker.webhook_networks=inside", "broker.webhook_networks: .*10.0.0.0/8"),
        ("broker.audit_entries=0", "broker.audit_entries: .*>= 1000"),
    ],
)
def test_a_broker_setting_that_cannot_be_used_is_an_error_that_names_it(flag: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        broker_app(load(environment={}, flags=[*BROKER_FLAGS, flag]).broker)


def test_roles_drain_by_default_but_not_under_a_supervisor_that_stops_them_all() -> None:
    config = load(environment={}, flags=["edge.token=t", "node.token=t"])
    assert _drain_s(config) == (DRAIN_S, DRAIN_S)
    assert _drain_s(without_drain(config)) == (0.0, 0.0)
    asked = load(environment={}, flags=["edge.token=t", "node.token=t", "edge.drain_s=0", "node.drain_s=3"])
    assert _drain_s(asked) == _drain_s(without_drain(asked)) == (0.0, 3.0)


def _drain_s(config: Config) -> tuple[float, float]:
    edge, node = edge_app(config.edge)[EDGE_PROCESS], node_app(config.node)[NODE_PROCESS]
    return edge.settings.drain_s, node.settings.drain_s


def test_prices_of_sites_are_tables_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "farstage.toml"
    file.write_text(
        '[broker.sites.helsinki]\nprice_per_unit_hour = 0.04\n[broker.sites."*"]\npue = 1.5\n'
        "[broker.weights]\npoints_per_kg_co2 = 7.0\n"
    )
    broker = load(file, environment={}).broker
    assert broker.sites["helsinki"].price_per_unit_hour == 0.04
    assert broker.sites["*"].pue == 1.5
    assert broker.weights.points_per_kg_co2 == 7.0
    file.write_text("[broker.sites.helsinki]\npue = 0.5\n")
    with pytest.raises(ConfigError, match="pue"):
        load(file, environment={})


def test_tables_are_json_in_variables_and_flags() -> None:
    environment = {"FARSTAGE_BROKER_SITES": '{"helsinki": {"pue": 1.1}}'}
    broker = load(environment=environment, flags=['broker.weights={"points_per_price": 3}']).broker
    assert broker.sites["helsinki"].pue == 1.1
    assert broker.weights.points_per_price == 3
    with pytest.raises(ConfigError, match="FARSTAGE_BROKER_SITES"):
        load(environment={"FARSTAGE_BROKER_SITES": "helsinki"})
