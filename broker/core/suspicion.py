"""Whether an agent is dead, from what the broker and others see of it: a state machine without I/O or clock.

    TRUSTED ──own line broken or silent──▶ SUSPECTED ──another observer agrees, or time is up──▶ DEAD
       ▲                                       │
       └──── the agent is heard, or returns ───┘

**Suspicion** is the broker's own: the agent's WebSocket has broken, or nothing has come for longer than can be
explained by a heartbeat, a pause that is allowed to it (`pause_s`: garbage collection, a busy machine, SIGSTOP) and one
retransmission of TCP (`retransmission_s`: Linux repeats a lost tail after 200 ms). **Confirmation** is the word of a
process at the other end of one of the agent's trunks that says the same of its own connection: two connections do not
break, or lose the same packet twice, by chance. Two that agree are believed at once, so that the loss of a process is
known in milliseconds and of a machine within a second. One alone gets the grace (`OwnLine.grace_ends` for a broken
line, `silent_alone_s` for a silent one): the broker's own line may be what is broken, and others may lie.
**Refutation** is a message of the agent itself: whom the broker hears is alive, whatever others say; so no observer,
nor all of them together, can have a healthy agent taken for dead.

A word counts for `word_counts_s`, as observers repeat what goes on and take back what has ended. Time during which the
broker itself stood still is taken out by its caller (`fleet.excuse_stall`); observers do the same with their own.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from broker.protocol import PeerSight

MAX_OBSERVERS = 64
"""Words kept of one agent, the newest ones: stops many observers, or one of many names, from filling memory."""


class Verdict(StrEnum):
    """What is believed of an agent."""

    TRUSTED = "trusted"
    SUSPECTED = "suspected"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long what is allowed to last; all in seconds."""

    heartbeat_interval_s: float
    pause_s: float
    retransmission_s: float
    silent_alone_s: float
    word_counts_s: float

    @property
    def silence_s(self) -> float:
        """The longest silence of a living agent: it pauses just before a heartbeat, which is then lost once."""
        return self.heartbeat_interval_s + self.pause_s + self.retransmission_s


class OwnLine(NamedTuple):
    """The broker's own connection: when anything came last, and when its grace ends (`None`: it stands), in seconds."""

    last_heard: float
    grace_ends: float | None


class Word(Struct, frozen=True):
    """What one observer said last, and when (seconds)."""

    sight: PeerSight
    said_at: float


Words = dict[str, Word]
"""By observer."""


def note(words: Words, observer: str, sight: PeerSight, now: float) -> None:
    """An observer says what it sees; `HEARD` takes back what it said before."""
    words.pop(observer, None)
    if sight is PeerSight.HEARD:
        return
    words[observer] = Word(sight, now)
    while len(words) > MAX_OBSERVERS:
        del words[next(iter(words))]


def judge(line: OwnLine, words: Words, patience: Patience, now: float) -> Verdict:
    """What to believe now. Depends on nothing but its arguments, so it may be asked at any time and as often."""
    if not _suspects(line, patience, now):
        return Verdict.TRUSTED
    if _is_confirmed(words, patience, now) or _is_overdue(line, patience, now):
        return Verdict.DEAD
    return Verdict.SUSPECTED


def _suspects(line: OwnLine, patience: Patience, now: float) -> bool:
    return line.grace_ends is not None or now - line.last_heard > patience.silence_s


def _is_confirmed(words: Words, patience: Patience, now: float) -> bool:
    return any(now - word.said_at <= patience.word_counts_s for word in words.values())


def _is_overdue(line: OwnLine, patience: Patience, now: float) -> bool:
    if line.grace_ends is not None:
        return now >= line.grace_ends
    return now - line.last_heard > max(patience.silent_alone_s, patience.silence_s)
