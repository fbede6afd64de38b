"""The documents name what is there: messages, problems, metrics, files and tests."""

import re
from pathlib import Path
from typing import get_args

import pytest

from broker import protocol
from broker.api.routes import ROUTES
from broker.core.refusals import RefusalKind
from broker.tokens import TokenRefusal
from edge.trunk.framing import Flag, Kind

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def read(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


@pytest.mark.parametrize(
    "union", [protocol.AgentMessage, protocol.BrokerMessage, protocol.ClientMessage, protocol.ClientEvent]
)
def test_every_message_and_field_is_in_the_api_document(union: object) -> None:
    text = read("api.md")
    for message in get_args(union):
        row = next(line for line in text.splitlines() if line.startswith(f"| `{message.__struct_config__.tag}` |"))
        missing = [field for field in message.__struct_fields__ if f"`{field}`" not in row]
        assert not missing, f"{message.__name__}: {missing}"


def test_every_route_and_problem_is_in_the_api_document() -> None:
    text = read("api.md")
    for route in ROUTES:
        assert f"`{route.method} {route.path}`" in text
    kinds = [kind.value for kind in RefusalKind]
    kinds += [f"token-{reason.value.replace('_', '-')}" for reason in TokenRefusal]
    for sources in (ROOT / "broker" / "api", ROOT / "edge"):
        for path in sources.glob("*.py"):
            kinds += re.findall(r'(?:ApiError|problem)\(\s*"([a-z-]+)"', path.read_text("utf-8"))
    assert [kind for kind in kinds if f"`{kind}`" not in text] == []


def test_every_trunk_kind_and_flag_is_in_the_architecture_document() -> None:
    text = read("architecture.md")
    for kind in Kind:
        assert f"| {kind.value} | {kind.name} |" in text
    for flag in Flag:
        assert f"{flag.value} {flag.name}" in text


def test_every_end_reason_is_explained() -> None:
    text = read("architecture.md")
    assert [reason.value for reason in protocol.EndReason if f"`{reason.value}`" not in text] == []


def test_every_test_the_threat_model_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py|client_demo/[\w/.]+\.test\.js)::([^`]+)`", read("threat-model.md"))
    assert named
    for file, name in named:
        source = (ROOT / file).read_text("utf-8")
        assert f"def {name}(" in source or f"test('{name}'" in source, f"{file}::{name}"


@pytest.mark.parametrize("document", ["architecture.md", "api.md", "threat-model.md", "operating.md"])
def test_links_between_documents_lead_somewhere(document: str) -> None:
    for target, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^)]+)\)", read(document))):
        if target.startswith("http"):
            continue
        path = (DOCS / target) if target else DOCS / document
        assert path.exists(), f"{document}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{document}: {target}#{anchor}"
