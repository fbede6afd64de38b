"""Who comes when: rooms that fill and empty, audiences that change, crowds."""

from functools import partial
from random import Random

from broker.core.state import RoomRecord
from broker.protocol import Mode
from farstage.simulation.agents import SCENE
from farstage.simulation.scenario import Crowd, Rooms
from farstage.simulation.visitor import Visitor
from farstage.simulation.visits import Visits
from farstage.simulation.world import World

LEAST_STAY_S = 10.0
PAUSE_S = 5.0
"""Mean, between somebody's leaving and the next one's coming."""
EMPTY_TIMEOUT_S = 30.0
CREATED_AT = "2026-11-29T00:00:00Z"


class Attendance:
    """Lets people come, and others when they have gone."""

    def __init__(self, world: World, visits: Visits, random: Random) -> None:
        self._random, self._agenda, self._shell, self._visits = random, world.agenda, world.shell, visits
        self._scenario = world.scenario
        self._groups = {group.name: group for group in world.scenario.rooms}
        self._rooms_made = 0
        self._halls: dict[str, list[str]] = {}
        """Conferences, by kind of room."""
        self._seats: dict[str, tuple[Rooms, str]] = {}
        """By session: those after whom another comes."""
        visits.on_gone = self._gone

    def begin(self) -> None:
        """Note down everybody's coming."""
        for group in self._scenario.rooms:
            self._fill(group, group.people, 0.0, group.arrive_over_s, comes_again=True)
        for crowd in self._scenario.crowds:
            self._agenda.after(crowd.at_s, partial(self._crowd, crowd))

    def _crowd(self, crowd: Crowd) -> None:
        self._fill(self._groups[crowd.rooms], crowd.people, 0.0, crowd.within_s, comes_again=False)

    def _fill(self, group: Rooms, people: int, at_s: float, within_s: float, *, comes_again: bool) -> None:
        """So many people come into rooms of a kind."""
        if group.mode is Mode.CONFERENCE:
            halls = self._halls_of(group)
            for at in range(people):
                wait_s = at_s + self._random.uniform(0.0, within_s)
                self._seat_later(group, halls[at % len(halls)], wait_s, comes_again=comes_again)
            return
        for first in range(0, people, group.people_per_room):
            size = min(group.people_per_room, people - first)
            wait_s = at_s + self._random.uniform(0.0, within_s)
            self._party_later(group, size, wait_s, comes_again=comes_again)

    # --- Audiences ---

    def _halls_of(self, group: Rooms) -> list[str]:
        if group.name not in self._halls:
            count = -(-group.people // group.people_per_room)
            self._halls[group.name] = [self._open_room(group, 0.0) for _ in range(count)]
        return self._halls[group.name]

    def _seat_later(self, group: Rooms, room: str, wait_s: float, *, comes_again: bool) -> None:
        self._agenda.after(wait_s, lambda: self._sit(group, room, comes_again=comes_again))

    def _sit(self, group: Rooms, room: str, *, comes_again: bool) -> None:
        visitor = self._visits.arrive(room)
        if comes_again:
            self._seats[visitor.session] = group, room
        self._agenda.after(self._stay_s(group), lambda: self._visits.leave(visitor))

    def _gone(self, visitor: Visitor) -> None:
        """After each of an audience comes another."""
        seat = self._seats.pop(visitor.session, None)
        if seat is not None:
            self._seat_later(*seat, self._random.expovariate(1.0 / PAUSE_S), comes_again=True)

    # --- Parties ---

    def _party_later(self, group: Rooms, size: int, wait_s: float, *, comes_again: bool) -> None:
        self._agenda.after(wait_s, lambda: self._gather(group, size, comes_again=comes_again))

    def _gather(self, group: Rooms, size: int, *, comes_again: bool) -> None:
        """A room is made; its people come one after the other, and leave together."""
        room = self._open_room(group, EMPTY_TIMEOUT_S)
        stay_s = group.gather_s + self._stay_s(group)
        ends_at = self._agenda.now + stay_s
        for at in range(size):
            wait_s = 0.0 if at == 0 else self._random.uniform(0.0, group.gather_s)
            self._agenda.after(wait_s, lambda: self._come(room, ends_at))
        if comes_again:
            pause_s = self._random.expovariate(1.0 / PAUSE_S)
            self._party_later(group, size, stay_s + pause_s, comes_again=True)

    def _come(self, room: str, until_s: float) -> None:
        visitor = self._visits.arrive(room)
        self._agenda.after(max(0.0, until_s - self._agenda.now), lambda: self._visits.leave(visitor))

    def _stay_s(self, group: Rooms) -> float:
        return LEAST_STAY_S + self._random.expovariate(1.0 / max(group.stay_s - LEAST_STAY_S, 0.1))

    def _open_room(self, group: Rooms, empty_timeout_s: float) -> str:
        self._rooms_made += 1
        room = RoomRecord(
            room=f"{group.name}-{self._rooms_made}",
            mode=group.mode,
            scene=SCENE,
            max_participants=group.max_participants or group.people_per_room,
            empty_timeout_s=empty_timeout_s,
            open=True,
            metadata={},
            created_at=CREATED_AT,
        )
        self._shell.step("rooms", lambda: self._shell.brain.create_room(room, self._agenda.now))
        return room.room
