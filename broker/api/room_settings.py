"""What a room is made with: the body over the template over the defaults."""

from typing import Any

from msgspec import UNSET, structs

from broker.protocol import Mode, RoomSettings

DEFAULTS = RoomSettings(
    mode=Mode.EXPLORE,
    scene="campus",
    max_participants=50,
    empty_timeout_s=300.0,
    open=False,
    locked=False,
    waiting_room=False,
    metadata={},
    limits={},
    open_at=None,
    close_at=None,
    expected_audience=0,
    latency_caps=[],
)


def layered(*layers: RoomSettings) -> RoomSettings:
    """For each key the value of the first of these that gives one."""
    return RoomSettings(**{name: _first(name, layers) for name in RoomSettings.__struct_fields__})


def _first(name: str, layers: tuple[RoomSettings, ...]) -> Any:
    return next((value for layer in layers if (value := getattr(layer, name)) is not UNSET), UNSET)


def given(settings: RoomSettings) -> dict[str, Any]:
    """What was given, by key."""
    return {name: value for name, value in structs.asdict(settings).items() if value is not UNSET}
