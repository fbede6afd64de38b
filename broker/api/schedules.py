"""Where the clock on the wall meets the core's: schedules as clients give them, and as the core keeps them."""

from datetime import UTC, datetime

from msgspec import UNSET, structs

from broker.api.problems import ApiError
from broker.api.timestamps import rfc3339
from broker.core.schedule import Schedule
from broker.protocol import RoomPatch

FARTHEST_S = 10 * 366 * 86_400.0
"""A time ten years off is a mistake, and one of the year 1 or 9999 cannot be shown in every time zone."""


def impossible(detail: str) -> ApiError:
    """The times contradict one another or the present."""
    return ApiError("schedule-impossible", 422, "The schedule cannot be kept", detail)


def changed_schedule(schedule: Schedule, changes: RoomPatch, unix_now: float, now: float) -> Schedule | None:
    """The schedule with these changes, `None` if there are none. Raises `ApiError` if it cannot be kept."""
    if changes.open_at is UNSET and changes.close_at is UNSET and changes.expected_audience is UNSET:
        return None
    known = schedule.expected_audience
    new = Schedule(
        open_at=schedule.open_at if changes.open_at is UNSET else _text("open_at", changes.open_at, unix_now),
        close_at=schedule.close_at if changes.close_at is UNSET else _text("close_at", changes.close_at, unix_now),
        expected_audience=known if changes.expected_audience is UNSET else changes.expected_audience,
    )
    timed = in_core_time(new, unix_now, now)
    _require_possible(timed, now)
    return timed


def _text(name: str, time: datetime | None, unix_now: float) -> str | None:
    if time is None:
        return None
    if abs(time.timestamp() - unix_now) > FARTHEST_S:
        raise impossible(f"{name} is more than ten years from now")
    return rfc3339(time.timestamp())


def _require_possible(schedule: Schedule, now: float) -> None:
    if schedule.closes_at_s is None:
        return
    if schedule.closes_at_s <= now:
        raise impossible(f"close_at, {schedule.close_at}, is past; DELETE closes a room now")
    if schedule.opens_at_s is not None and schedule.closes_at_s <= schedule.opens_at_s:
        raise impossible(f"close_at, {schedule.close_at}, is not after open_at, {schedule.open_at}")


def in_core_time(schedule: Schedule, unix_now: float, now: float) -> Schedule:
    """The same with its times in seconds of the core's `now`, which does not survive a restart."""

    def seconds(text: str | None) -> float | None:
        return None if text is None else now + datetime.fromisoformat(text).astimezone(UTC).timestamp() - unix_now

    return structs.replace(schedule, opens_at_s=seconds(schedule.open_at), closes_at_s=seconds(schedule.close_at))
