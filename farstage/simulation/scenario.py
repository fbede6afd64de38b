"""What a scenario file says: the world, its people, its machines, and what happens to them.

The world is a plane on which distances are round trips in milliseconds: a site or a home stands on a circle around the
city's centre, at a bearing. A client's round trip to an edge is that of its access line, the distance, and what the way
inside one network or between two adds. All limits stop a file from asking for more than a machine can hold.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from broker.protocol import Mode

MAX_PEOPLE = 200_000
MAX_NODES = 20_000
MAX_EDGES = 2_000
MAX_SITES = 200

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$(?!\n)")]
"""1 to 31 lower-case letters, digits and `-`; the first is a letter or digit."""
Seconds = Annotated[float, Meta(ge=0.0, le=86_400.0)]
Interval = Annotated[float, Meta(ge=0.01, le=3_600.0)]
RoundTrip = Annotated[float, Meta(ge=0.0, le=1_000.0)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Weight = Annotated[float, Meta(gt=0.0, le=1e6)]
"""Shares of a list need not add up to one: each counts against the sum of all."""
Money = Annotated[float, Meta(ge=0.0, le=1e4)]
Watts = Annotated[float, Meta(ge=0.0, le=1e5)]
People = Annotated[int, Meta(ge=1, le=MAX_PEOPLE)]


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything in a scenario file: an unknown key is an error."""


class Clock(Table, frozen=True, kw_only=True):
    """How often what happens. The defaults are the broker's own, but for the last three."""

    heartbeat_s: Annotated[float, Meta(ge=0.05, le=10.0)] = 0.2
    watch_s: Interval = 0.05
    tick_s: Interval = 0.2
    reoptimise_s: Seconds = 5.0
    """0: never."""
    report_s: Interval = 10.0
    """Between two reports of an edge on its viewers; real edges send one a second, no decision rests on them."""
    meter_s: Annotated[float, Meta(ge=0.5, le=10.0)] = 5.0
    sample_s: Interval = 5.0
    """Between two looks at what everybody experiences."""


class Latency(Table, frozen=True, kw_only=True):
    """Round trips that the ways between networks add, in milliseconds."""

    inside_network_ms: RoundTrip = 1.0
    between_networks_ms: RoundTrip = 2.0
    trunk_ms: RoundTrip = 0.5
    """Between an edge and a node of one site; their distance comes on top."""
    probe_noise: Share = 0.1
    """By how much a client's measurement may be wrong, up or down."""
    cap_ms: RoundTrip = 100.0
    """The round trip from client to node beyond which a viewer counts as a violation."""


class Place(Table, frozen=True, kw_only=True):
    """Where people live: evenly between two circles around the city's centre."""

    name: Name
    share: Weight
    from_ms: RoundTrip = 0.0
    to_ms: RoundTrip


class Network(Table, frozen=True, kw_only=True):
    """A provider that people are with."""

    name: Name
    share: Weight


class Line(Table, frozen=True, kw_only=True):
    """A kind of access line. Means; `rtt_spread` and `bandwidth_spread` are sigmas of lognormal distributions."""

    name: Name
    share: Weight
    rtt_ms: RoundTrip
    rtt_spread: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.3
    jitter_ms: RoundTrip = 1.0
    loss: Share = 0.0
    bandwidth_mbps: Annotated[float, Meta(ge=0.1, le=10_000.0)] = 50.0
    bandwidth_spread: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.3
    width: Annotated[int, Meta(ge=160, le=3_840)] = 1_280
    height: Annotated[int, Meta(ge=160, le=3_840)] = 720


class Site(Table, frozen=True, kw_only=True):
    """A data centre: a region to the broker. With a `count` so many alike stand evenly around the circle."""

    name: Name
    count: Annotated[int, Meta(ge=1, le=MAX_SITES)] = 1
    circle_ms: RoundTrip
    bearing_degrees: Annotated[float, Meta(ge=0.0, lt=360.0)] = 0.0
    price_per_unit_hour: Money = 0.05
    pue: Annotated[float, Meta(ge=1.0, le=10.0)] = 1.3
    grams_co2_per_kwh: Annotated[float, Meta(ge=0.0, le=2_000.0)] = 300.0


class NodeKind(Table, frozen=True, kw_only=True):
    """A kind of render node; a unit is one 1280x720 view at 30 frames/s."""

    name: Name
    units: Annotated[float, Meta(gt=0.0, le=1e5)]
    watts_idle: Watts
    watts_full: Watts
    start_s: Annotated[float, Meta(ge=0.0, le=60.0)] = 0.15
    """From being told to draw a view to its first picture at an edge."""


class Nodes(Table, frozen=True, kw_only=True):
    """So many nodes of a kind at a site, or at each of those that it stands for; they are named `SITE-KIND-NUMBER`."""

    site: Name
    kind: Name
    count: Annotated[int, Meta(ge=1, le=MAX_NODES)] = 1


class Edges(Table, frozen=True, kw_only=True):
    """So many edges of a network at a site, or at each that it stands for; they are named `SITE-NETWORK-NUMBER`."""

    site: Name
    network: Name
    count: Annotated[int, Meta(ge=1, le=MAX_EDGES)] = 1
    max_viewers: Annotated[int, Meta(ge=1, le=100_000)] = 2_000


class Rooms(Table, frozen=True, kw_only=True):
    """People who meet in rooms of one kind.

    Explore and gallery: those of a room come and go together, and when they have gone others come. Conference: rooms
    stay, and for each who leaves another comes.
    """

    name: Name
    mode: Mode
    people: People
    people_per_room: Annotated[int, Meta(ge=1, le=100_000)]
    stay_s: Annotated[float, Meta(ge=10.0, le=86_400.0)] = 900.0
    """Mean; exponentially distributed, but nobody leaves within ten seconds."""
    arrive_over_s: Seconds = 60.0
    """Within which the first ones come."""
    gather_s: Seconds = 10.0
    """Within which those of one room come."""
    max_participants: Annotated[int, Meta(ge=0, le=100_000)] = 0
    """0: as many as `people_per_room`."""


class Mobility(Table, frozen=True, kw_only=True):
    """People whose line changes under way: from wifi to mobile and back."""

    changes_per_hour: Annotated[float, Meta(ge=0.0, le=600.0)] = 0.0
    """Of each viewer, on average."""
    breaks: Share = 0.25
    """Share of changes that an ICE restart does not repair: a second and a half later the client resumes."""


class Clients(Table, frozen=True, kw_only=True):
    """How clients behave."""

    connect_round_trips: Annotated[float, Meta(ge=0.0, le=100.0)] = 6.0
    """From the grant to the connection: offer and answer, ICE, DTLS."""
    notice_s: Seconds = 2.5
    """Until the browser SDK takes a silent edge for gone; it then tries an ICE restart for a second and a half."""
    patience_s: Seconds = 60.0
    """For how long one who was refused tries again."""
    store_ms: RoundTrip = 1.0
    """What the broker's claims in its store add to a join."""


class Crowd(Table, frozen=True, kw_only=True):
    """More people than usual: they come all at once into rooms of one kind and are not replaced when they leave."""

    rooms: Name
    at_s: Seconds
    people: People
    within_s: Annotated[float, Meta(gt=0.0, le=86_400.0)] = 30.0


class What(StrEnum):
    """What happens to a machine."""

    CRASH = "crash"
    """The process dies: its connections close."""
    SILENCE = "silence"
    """The machine or its power is gone: nothing closes."""
    PARTITION = "partition"
    """The broker cannot be reached from it; it goes on drawing."""
    DRAIN = "drain"
    """An operator empties it."""


BUSIEST_NODE, BUSIEST_EDGE = "busiest-node", "busiest-edge"


class Incident(Table, frozen=True, kw_only=True):
    """Something that happens to a node, an edge or all of a site, and for how long.

    `target` is a name, or `busiest-node` or `busiest-edge` of that moment.
    """

    what: What
    target: Annotated[str, Meta(min_length=1, max_length=64)]
    at_s: Seconds
    for_s: Annotated[float, Meta(gt=0.0, le=86_400.0)] | None = None
    """Until it is back; absent: for good."""
    deadline_s: Seconds = 300.0
    """Of a drain."""


def bounded(most: int) -> Meta:
    """Limits of a list of one to `most` entries."""
    return Meta(min_length=1, max_length=most)


class Scenario(Table, frozen=True, kw_only=True):
    """A whole file."""

    title: Annotated[str, Meta(min_length=1, max_length=200)]
    duration_s: Annotated[float, Meta(ge=1.0, le=86_400.0)]
    seed: Annotated[int, Meta(ge=0, le=2**53)] = 1
    policy: str = "best_value"
    clock: Clock = Clock()
    latency: Latency = Latency()
    clients: Clients = Clients()
    mobility: Mobility = Mobility()
    places: Annotated[list[Place], bounded(50)]
    networks: Annotated[list[Network], bounded(50)]
    lines: Annotated[list[Line], bounded(50)]
    sites: Annotated[list[Site], bounded(MAX_SITES)]
    node_kinds: Annotated[list[NodeKind], bounded(50)]
    nodes: Annotated[list[Nodes], bounded(2_000)]
    edges: Annotated[list[Edges], bounded(2_000)]
    rooms: Annotated[list[Rooms], bounded(50)]
    crowds: Annotated[list[Crowd], Meta(max_length=100)] = []
    incidents: Annotated[list[Incident], Meta(max_length=1_000)] = []

    @property
    def people(self) -> int:
        """How many are online when all are there, without crowds."""
        return sum(group.people for group in self.rooms)
