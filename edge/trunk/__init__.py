"""The trunk: the transport of encoded frames between processes, both ends.

One WebSocket a pair of processes. The process that dials is the *source*: a render node, or in a cascade the
edge nearer to it. The one that accepts is the *sink*: an edge. `framing` is the wire format and needs no I/O,
`dialer` and `acceptor` are the two ends, `pool` holds a source's trunks, and `watch` notes who falls silent on them.
"""

from edge.trunk.acceptor import SinkHandler, TrunkAcceptor, TrunkConnection
from edge.trunk.dialer import OutgoingStream, SourceHandler, TrunkDialer
from edge.trunk.framing import (
    MAX_HOPS,
    MAX_LAYERS,
    MAX_PAYLOAD_BYTES,
    MAX_STATE_BYTES,
    Flag,
    Frame,
    Kind,
    LayerDescription,
    StreamFeedback,
    StreamOpen,
    TrunkError,
    ViewerAudio,
    ViewerEvent,
    ViewerInput,
    ViewerPresence,
)
from edge.trunk.pool import LINGER_S, TrunkPool
from edge.trunk.watch import Peer, PeerWatch, watch_forever

__all__ = [
    "LINGER_S",
    "MAX_HOPS",
    "MAX_LAYERS",
    "MAX_PAYLOAD_BYTES",
    "MAX_STATE_BYTES",
    "Flag",
    "Frame",
    "Kind",
    "LayerDescription",
    "OutgoingStream",
    "Peer",
    "PeerWatch",
    "SinkHandler",
    "SourceHandler",
    "StreamFeedback",
    "StreamOpen",
    "TrunkAcceptor",
    "TrunkConnection",
    "TrunkDialer",
    "TrunkError",
    "TrunkPool",
    "ViewerAudio",
    "ViewerEvent",
    "ViewerInput",
    "ViewerPresence",
    "watch_forever",
]
