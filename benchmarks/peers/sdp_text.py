"""Reading SDP just as far as the front of Janus needs it: sections, attributes, and the format to play."""

import re
from dataclasses import dataclass

from farstage.bench.whep_front import OfferRefused

_BASELINE = re.compile(r"profile-level-id=42[0-9a-f]{4}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Section:
    """One media section: its `m=` line and the lines below it."""

    media_line: str
    lines: tuple[str, ...]

    def values(self, name: str) -> list[str]:
        """The values of an attribute, in order: of `a=candidate:x`, `x`."""
        prefix = f"a={name}:"
        return [line.removeprefix(prefix) for line in self.lines if line.startswith(prefix)]

    def value(self, name: str) -> str | None:
        """The first value of an attribute."""
        return next(iter(self.values(name)), None)

    @property
    def kind(self) -> str:
        """`video`, `audio` or `application`."""
        return self.media_line.removeprefix("m=").split()[0]

    @property
    def formats(self) -> list[str]:
        """Payload types, best first."""
        return self.media_line.split()[3:]


@dataclass(frozen=True, slots=True)
class Description:
    """A session description: what stands above the sections, and these."""

    session: Section
    sections: tuple[Section, ...]

    def value(self, section: Section, name: str) -> str | None:
        """An attribute of a section, or of the whole session where the section has none."""
        return section.value(name) or self.session.value(name)

    def video(self) -> Section:
        """The first video section. Raises `OfferRefused`."""
        found = next((section for section in self.sections if section.kind == "video"), None)
        if found is None:
            raise OfferRefused("the description has no video section")
        return found


def parse(text: str) -> Description:
    """Split a description at its `m=` lines."""
    groups: list[list[str]] = [[""]]
    for line in text.splitlines():
        if line.startswith("m="):
            groups.append([line.strip()])
        elif line.strip():
            groups[-1].append(line.strip())
    session, *sections = (Section(group[0], tuple(group[1:])) for group in groups)
    return Description(session, tuple(sections))


def h264_payload_type(video: Section) -> str:
    """The payload type to send H.264 baseline in packetization mode 1 with. Raises `OfferRefused`."""
    h264 = {value.split()[0] for value in video.values("rtpmap") if "H264/90000" in value.upper()}
    parameters = dict(value.split(" ", 1) for value in video.values("fmtp") if " " in value)
    fitting = [
        number for number in video.formats if number in h264 and "packetization-mode=1" in parameters.get(number, "")
    ]
    baseline = [number for number in fitting if _BASELINE.search(parameters[number])]
    if not fitting:
        raise OfferRefused("the offer has no H.264 in packetization mode 1")
    return (baseline or fitting)[0]


def extensions(video: Section) -> dict[str, str]:
    """Header extension identifiers by URI."""
    pairs = (value.split()[:2] for value in video.values("extmap"))
    return {uri: identifier.split("/")[0] for identifier, uri in pairs}
