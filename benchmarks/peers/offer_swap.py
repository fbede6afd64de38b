"""Two offers in, two answers out: how a client that offers (WHEP) meets a server that offers too (Janus).

Janus 1.1.2's streaming plugin always makes the offer itself. Both sides want the same connection, video from Janus
to the client, so the front answers each with what the other has offered: ICE credentials, candidates, certificate.
As Janus is ICE-lite, the client controls ICE; Janus is active in DTLS, for it drops a ClientHello that arrives as soon
as ICE is through, which costs the client its first retransmission. Identifiers of header extensions are the client's,
the payload type is the client's too (the mountpoint was made for it), and RTX is left out.
"""

from benchmarks.peers.sdp_text import Description, Section, extensions, h264_payload_type

_SESSION = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
_UNREACHABLE = "1 1 udp 1 192.0.2.1 9 typ host"
"""Stands for a client that names no candidate: Janus wants one, and learns the true address from its checks."""


def answer_for_client(client: Description, janus: Description) -> str:
    """What Janus has offered, as an answer to the client's offer."""
    video, offered = client.video(), janus.video()
    mid = video.value("mid") or "0"
    lines = [*_SESSION, f"a=group:BUNDLE {mid}", "a=ice-lite"]
    for section in client.sections:
        if section is not video:
            lines += _refused(section)
        else:
            lines += _accepted(video, offered, mid) + _transport(janus, offered, "active")
            lines += [*(f"a=ssrc:{value}" for value in offered.values("ssrc")[:1]), "a=sendonly"]
    return _text(lines)


def answer_for_janus(client: Description, janus: Description) -> str:
    """What the client has offered, as an answer to Janus's offer."""
    video, offered = client.video(), janus.video()
    mid = offered.value("mid") or "v"
    lines = [*_SESSION, f"a=group:BUNDLE {mid}"]
    lines += _accepted(video, offered, mid) + _transport(client, video, "passive")
    return _text([*lines, "a=recvonly"])


def _accepted(client_video: Section, janus_video: Section, mid: str) -> list[str]:
    number = h264_payload_type(client_video)
    theirs = {value.split(" ", 1)[1] for value in janus_video.values("rtcp-fb")}
    feedback = [value.split(" ", 1) for value in client_video.values("rtcp-fb")]
    lines = [f"m=video 9 UDP/TLS/RTP/SAVPF {number}", "c=IN IP4 127.0.0.1", f"a=mid:{mid}", "a=rtcp-mux"]
    for name in ("rtpmap", "fmtp"):
        lines += [f"a={name}:{value}" for value in client_video.values(name) if value.split()[0] == number]
    lines += [f"a=rtcp-fb:{number} {kind}" for format_, kind in feedback if format_ in (number, "*") and kind in theirs]
    known = extensions(janus_video)
    return lines + [f"a=extmap:{number} {uri}" for uri, number in extensions(client_video).items() if uri in known]


def _refused(section: Section) -> list[str]:
    kind, _, protocol, *formats = section.media_line.removeprefix("m=").split()
    mid = section.value("mid")
    refused = [f"m={kind} 0 {protocol} {' '.join(formats)}", "c=IN IP4 127.0.0.1", "a=inactive"]
    return refused + ([f"a=mid:{mid}"] if mid else [])


def _transport(source: Description, section: Section, setup: str) -> list[str]:
    candidates = [value for value in section.values("candidate") if ".local " not in value]
    names = ("ice-ufrag", "ice-pwd", "fingerprint")
    lines = [f"a={name}:{source.value(section, name)}" for name in names]
    lines += [f"a=candidate:{value}" for value in candidates or [_UNREACHABLE]]
    return [*lines, "a=end-of-candidates", f"a=setup:{setup}"]


def _text(lines: list[str]) -> str:
    return "\r\n".join(lines) + "\r\n"
