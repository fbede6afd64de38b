"""A room's live state: who is there, what they do, what each view sees. Pure: events and `now` in, events out.

A world belongs to the one node that draws its room. What must reach people is collected as `WorldEvent`s, which the
node takes with `take_events` after each change.
"""

import zlib
from dataclasses import dataclass

import msgspec
import numpy as np

from broker.permissions import Permission, permits
from broker.protocol import (
    Chat,
    ChatLine,
    ClientEvent,
    ClientMessage,
    ExhibitEntry,
    Input,
    Mode,
    RaiseHand,
    Refused,
    Role,
    Roster,
    RosterEntry,
    RosterJoined,
    RosterLeft,
    RosterTotal,
    SelectExhibit,
    StageCamera,
    StageCameraChanged,
    WorldParticipant,
)
from render_farm.renderer.interface import AvatarFrame, Camera
from render_farm.scene.model import Scene
from render_farm.world.conference import Conference
from render_farm.world.explore import Explore
from render_farm.world.gallery import Gallery
from render_farm.world.mode import ModeRules, Person, Retained

REST_AFTER_S = 0.3
HELD_INPUT_EXPIRES_S = 1.0
"""Clients repeat held keys ten times a second; one that has gone silent stops walking."""
FULL_ROSTER_LIMIT = 200
"""In a room with more people only those who matter to all are named, so that a thousand who come do not cost a million
messages; the others are counted."""
MAX_RETAINED_HANDS = 60


@dataclass(frozen=True, slots=True)
class WorldEvent:
    """A message for one participant, or for everybody in the room."""

    event: ClientEvent
    participant: str | None = None


def _rules(mode: Mode, scene: Scene) -> ModeRules:
    match mode:
        case Mode.EXPLORE:
            return Explore(scene.places)
        case Mode.GALLERY:
            return Gallery(scene.places)
        case Mode.CONFERENCE:
            return Conference(scene.places)


class World:
    """One room on this node. `now` is monotonic seconds."""

    def __init__(self, room: str, mode: Mode, scene: Scene) -> None:
        self.room = room
        self.mode = mode
        self.scene = scene
        self.rules = _rules(mode, scene)
        self.people: dict[str, Person] = {}
        self._arrivals = 0
        self._told_total = 0
        self._events: list[WorldEvent] = []
        self._stepped_s: float | None = None
        self._camera_moved_s = float("-inf")

    # --- the broker's side ---

    def put_participant(self, described: WorldParticipant) -> None:
        """Somebody joined the room or changed role, mute or seat."""
        person = self.people.get(described.participant)
        was_named = person is not None and self._is_named(person)
        if person is None:
            person = self._welcome(described)
        person.role, person.muted, person.display_name = described.role, described.muted, described.display_name
        person.hand_raised = person.hand_raised and permits(person.role, Permission.RAISE_HAND)
        if person.seat != described.seat:
            person.seat = described.seat
            self.rules.place(person, 0)
        self._tell_change(person, was_named=was_named)

    def _welcome(self, described: WorldParticipant) -> Person:
        hue = zlib.crc32(described.participant.encode()) % 997 / 997.0
        person = Person(
            described.participant, described.display_name, described.role, described.muted, hue, described.seat
        )
        self.rules.place(person, self._arrivals)
        self._arrivals += 1
        self.people[person.participant] = person
        return person

    def drop_participant(self, participant: str) -> None:
        """Somebody left."""
        person = self.people.pop(participant, None)
        if person is None:
            return
        if isinstance(self.rules, Conference) and self.rules.director is person:
            self.rules.choose(self.rules.stage_camera, None)
        if self._is_named(person):
            self._tell_all(RosterLeft(participant=participant, total=len(self.people)))
            self._told_total = len(self.people)

    # --- the viewers' side ---

    def viewer_arrived(self, participant: str, *, fresh: bool) -> None:
        """A viewer of this participant is connected; they are told who is there.

        A `fresh` client counts its input from zero.
        """
        person = self.people.get(participant)
        if person is None:
            return
        person.present = True
        if fresh:
            self.rules.rebase(person)
            person.input = Input(seq=0)
        self._events.append(WorldEvent(self.roster(participant), participant))

    def viewer_gone(self, participant: str) -> None:
        """The viewer's connection ended: nobody sees their avatar until they are back."""
        person = self.people.get(participant)
        if person is not None:
            person.present = False

    def take(self, participant: str, message: ClientMessage, now: float) -> None:
        """A viewer's message; what it may not do is answered with `Refused`."""
        person = self.people.get(participant)
        if person is None:
            return
        match message:
            case Input():
                self._take_input(person, message, now)
            case RaiseHand():
                self._raise_hand(person, message.raised, now)
            case SelectExhibit():
                self._select_exhibit(person, message.exhibit, now)
            case StageCamera():
                self._choose_camera(person, message.camera, now)
            case Chat():
                self._chat(person, message.text, now)
            case _:
                self._refuse(person, "not_permitted", "this message is not for the world")

    def _take_input(self, person: Person, held: Input, now: float) -> None:
        if held.seq <= person.input.seq:
            return
        person.heard_time_s = now
        if not _same_hands(held, person.input):
            person.input_time_s = now
            if isinstance(self.rules, Conference) and permits(person.role, Permission.MOVE_STAGE_CAMERA):
                self._direct(person, now)
        person.input = held

    def _direct(self, person: Person, now: float) -> None:
        assert isinstance(self.rules, Conference)
        self._camera_moved_s = now
        if self.rules.director is not person:
            self.rules.choose(self.rules.stage_camera, person)

    def _raise_hand(self, person: Person, raised: bool, now: float) -> None:
        if raised and not permits(person.role, Permission.RAISE_HAND):
            self._refuse(person, "not_permitted", "spectators cannot raise a hand")
        elif not person.hand_bucket.take(now):
            self._refuse(person, "too_many", "the hand goes up and down too often")
        elif person.hand_raised != raised:
            person.hand_raised = raised
            self._tell_change(person, was_named=True)

    def _select_exhibit(self, person: Person, exhibit: str, now: float) -> None:
        if not isinstance(self.rules, Gallery):
            self._refuse(person, "not_permitted", "exhibits are selected in a gallery")
        elif not self.rules.has(exhibit):
            self._refuse(person, "unknown_exhibit", f"there is no exhibit {exhibit}")
        else:
            person.exhibit = exhibit
            person.input_time_s = now

    def _choose_camera(self, person: Person, camera: str, now: float) -> None:
        if not isinstance(self.rules, Conference) or not permits(person.role, Permission.MOVE_STAGE_CAMERA):
            self._refuse(person, "not_permitted", "only a host moves the stage camera of a conference")
        elif not self.rules.choose(camera, person):
            self._refuse(person, "unknown_camera", f"there is no stage camera {camera}")
        else:
            self._camera_moved_s = now
            self._tell_all(StageCameraChanged(camera=camera))

    def _chat(self, person: Person, text: str, now: float) -> None:
        if not permits(person.role, Permission.CHAT) or person.muted:
            self._refuse(person, "not_permitted", "you are muted or a spectator")
        elif not person.chat_bucket.take(now):
            self._refuse(person, "too_many", "more lines than anybody can read")
        else:
            self._tell_all(ChatLine(participant=person.participant, display_name=person.display_name, text=text))

    # --- time and pictures ---

    def step(self, now: float) -> None:
        """Advance to `now`."""
        elapsed_s = 0.0 if self._stepped_s is None else min(now - self._stepped_s, 0.25)
        self._stepped_s = now
        for person in self.people.values():
            if now - person.heard_time_s < HELD_INPUT_EXPIRES_S:
                self.rules.step(person, elapsed_s)

    def resting(self, participant: str | None, now: float) -> bool:
        """Whether the view's picture stands still because its input has rested for `REST_AFTER_S`."""
        person = self.people.get(participant or "")
        return self.rules.refines_at_rest and person is not None and now - person.input_time_s >= REST_AFTER_S

    def camera(self, participant: str | None, aspect: float = 16 / 9) -> Camera:
        """The camera of a participant's view, or of the shared view, for a picture of this width by height."""
        return self.rules.camera(self.people.get(participant or ""), aspect)

    def input_sequence(self, participant: str | None) -> int:
        """Last input that the view's picture shows; for a shared view that of its director."""
        if participant is None and isinstance(self.rules, Conference):
            director = self.rules.director
            return director.input.seq if director is not None else 0
        person = self.people.get(participant or "")
        return person.input.seq if person is not None else 0

    def avatars(self) -> AvatarFrame:
        """Everybody who can be seen now."""
        if not self.rules.shows_avatars:
            return AvatarFrame.empty()
        shown = [person for person in self.people.values() if person.present and self._is_placed(person)]
        return AvatarFrame(
            positions=np.array([person.position for person in shown], np.float32).reshape(-1, 3),
            yaws=np.array([person.yaw if person.seat is None else person.yaw_base for person in shown], np.float32),
            hues=np.array([person.hue for person in shown], np.float32),
            names=tuple(person.display_name for person in shown),
            hands_raised=np.array([person.hand_raised for person in shown], np.bool_),
            seated=np.array([person.seat is not None for person in shown], np.bool_),
            ids=tuple(person.participant for person in shown),
        )

    def _is_placed(self, person: Person) -> bool:
        return self.mode is not Mode.CONFERENCE or person.seat is not None

    # --- what is told and kept ---

    def roster(self, participant: str) -> Roster:
        """Who is there, as told to `participant`, and what there is to choose from."""
        named = [p for p in self.people.values() if p.participant == participant or self._is_named(p)]
        exhibits = self.scene.places.exhibits if self.mode is Mode.GALLERY else ()
        return Roster(
            participants=[_entry(person) for person in named[:FULL_ROSTER_LIMIT]],
            total=len(self.people),
            exhibits=[ExhibitEntry(exhibit=exhibit.exhibit, title=exhibit.title) for exhibit in exhibits],
            stage_cameras=list(self.rules.cameras) if isinstance(self.rules, Conference) else [],
            stage_camera=self.rules.stage_camera if isinstance(self.rules, Conference) else None,
        )

    def tell_total(self) -> None:
        """Tell how many are there if that has changed since it was told last; called at most twice a second."""
        if self._told_total != len(self.people):
            self._told_total = len(self.people)
            self._tell_all(RosterTotal(total=self._told_total))

    def take_events(self) -> list[WorldEvent]:
        """What must be told since the last call."""
        events, self._events = self._events, []
        return events

    def retained(self, participant: str | None) -> bytes:
        """State for a successor of this view."""
        person = self.people.get(participant or "")
        kept = Retained(hands=[p.participant for p in self.people.values() if p.hand_raised][:MAX_RETAINED_HANDS])
        if isinstance(self.rules, Conference):
            kept.stage_camera = self.rules.stage_camera
        if person is not None:
            kept.position, kept.yaw_base, kept.input = person.position, person.yaw_base, person.input
            kept.exhibit = person.exhibit
        return msgspec.json.encode(kept)

    def restore(self, participant: str | None, state: bytes) -> None:
        """Take over what a predecessor left. Raises `msgspec.DecodeError` for state that is none."""
        kept = msgspec.json.decode(state, type=Retained)
        for name in kept.hands:
            if name in self.people:
                self.people[name].hand_raised = True
        if isinstance(self.rules, Conference) and kept.stage_camera is not None:
            self.rules.choose(kept.stage_camera, None)
        person = self.people.get(participant or "")
        if person is not None and kept.input is not None and person.input.seq <= kept.input.seq:
            person.input, person.yaw_base, person.exhibit = kept.input, kept.yaw_base, kept.exhibit
            person.position = kept.position or person.position

    def _is_named(self, person: Person) -> bool:
        is_known_to_all = person.hand_raised or person.role in (Role.HOST, Role.SPEAKER)
        return is_known_to_all or len(self.people) <= FULL_ROSTER_LIMIT

    def _tell_change(self, person: Person, *, was_named: bool) -> None:
        """Tell everybody, or in a large room the person alone if they matter to nobody else."""
        event = RosterJoined(participant=_entry(person), total=len(self.people))
        if was_named or self._is_named(person):
            self._tell_all(event)
            self._told_total = len(self.people)
        else:
            self._events.append(WorldEvent(event, person.participant))

    def _tell_all(self, event: ClientEvent) -> None:
        self._events.append(WorldEvent(event))

    def _refuse(self, person: Person, reason: str, detail: str) -> None:
        self._events.append(WorldEvent(Refused(reason=reason, detail=detail), person.participant))


def _entry(person: Person) -> RosterEntry:
    return RosterEntry(
        participant=person.participant,
        display_name=person.display_name,
        role=person.role,
        muted=person.muted,
        hand_raised=person.hand_raised,
        seat=person.seat,
    )


def _same_hands(a: Input, b: Input) -> bool:
    return (a.move_x, a.move_z, a.yaw, a.pitch, a.zoom, a.run) == (b.move_x, b.move_z, b.yaw, b.pitch, b.zoom, b.run)
