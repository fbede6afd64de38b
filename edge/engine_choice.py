"""Which media engine an edge runs: the native one where it is built, aiortc elsewhere."""

import importlib.util

import structlog

_log = structlog.get_logger(__name__)

AUTO = "auto"
NATIVE = "native"
AIORTC = "aiortc"
CHOICES = (AIORTC, AUTO, NATIVE)

HOW_TO_BUILD = "install Rust (https://rustup.rs) and a C compiler, then: make native"


class EngineMissing(Exception):
    """The native engine was asked for and is not built here; the message says how to get it."""


def native_is_built() -> bool:
    """Whether the native engine can be imported."""
    return importlib.util.find_spec("edge._native") is not None


def choose_engine(wanted: str) -> str:
    """`native` or `aiortc`, from one of `CHOICES`. Raises `EngineMissing`."""
    if wanted == AIORTC:
        return AIORTC
    if native_is_built():
        return NATIVE
    if wanted == NATIVE:
        raise EngineMissing(f"the native media engine is not built; {HOW_TO_BUILD}")
    _log.warning("native_engine_not_built", using=AIORTC, viewers="tens instead of thousands", remedy=HOW_TO_BUILD)
    return AIORTC
