"""A node that renders nothing: it plays an encoded loop to whatever edges a broker names, numbering the pictures."""

import asyncio
import time

import aiohttp

from broker.agent import AgentLink
from broker.protocol import (
    BrokerMessage,
    Codec,
    NodeCapability,
    NodeHeartbeat,
    NodeLoad,
    PutView,
    RegisterNode,
    ViewStarted,
)
from edge.trunk import (
    Flag,
    OutgoingStream,
    StreamFeedback,
    StreamOpen,
    TrunkPool,
    ViewerInput,
    ViewerPresence,
)
from farstage.bench.source import EncodedLoop, LoopPlayer, SourceFrame

NODE = "synthetic"
SCENE = "campus"


class SyntheticNode:
    """Draws one view, for one room; `SourceHandler` of its trunks. Pictures bear their number as the input shown."""

    def __init__(self, broker_url: str, token: str, loop: EncodedLoop) -> None:
        self.sent_ns: dict[int, int] = {}
        """When each picture left, by number; the machine's monotonic clock."""
        self._player = LoopPlayer(loop, self._send)
        self._streams: dict[str, OutgoingStream] = {}
        self._number = 0
        self._trunks: TrunkPool
        self._link = AgentLink(
            broker_url,
            token,
            registration=self._registration,
            heartbeat=lambda: NodeHeartbeat(load=NodeLoad()),
            on_command=self._obey,
        )

    async def run(self) -> None:
        """Play until cancelled."""
        async with aiohttp.ClientSession() as http:
            self._trunks = TrunkPool(self, http)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._link.run())
                    tasks.create_task(self._player.run())
            finally:
                await self._trunks.close()

    def _registration(self) -> RegisterNode:
        capability = NodeCapability(
            renderer="synthetic", device="none", units=64.0, codecs=[Codec.H264], scenes=[SCENE]
        )
        return RegisterNode(node=NODE, region="local", version="0", capability=capability)

    async def _obey(self, command: BrokerMessage) -> None:
        if not isinstance(command, PutView):
            return
        targets = {target.edge: target for target in command.targets}
        for edge in self._streams.keys() - targets.keys():
            self._streams.pop(edge).close("no longer wanted")
        for edge, target in targets.items():
            if edge not in self._streams:
                description = StreamOpen(stream=command.stream, fence=command.fence, codec=command.codec)
                self._streams[edge] = self._trunks.open(target, description)
        self._link.tell(ViewStarted(view=command.view, fence=command.fence))

    def _send(self, frame: SourceFrame) -> None:
        self._number += 1
        self.sent_ns[self._number] = time.monotonic_ns()
        for stream in self._streams.values():
            stream.send(
                frame.payload,
                flags=Flag.KEYFRAME if frame.keyframe else 0,
                capture_time_us=time.time_ns() // 1000,
                input_sequence=self._number,
            )

    def on_opened(self, stream: OutgoingStream) -> None:
        """See `SourceHandler`."""
        self._player.want_keyframe()

    def on_keyframe_request(self, stream: OutgoingStream, layer: int) -> None:
        """See `SourceHandler`."""
        self._player.want_keyframe()

    def on_refused(self, stream: OutgoingStream, reason: str) -> None:
        """See `SourceHandler`."""
        self._streams = {edge: other for edge, other in self._streams.items() if other is not stream}

    def on_input(self, stream: OutgoingStream, viewer_input: ViewerInput) -> None:
        """See `SourceHandler`; nothing to do."""

    def on_viewer(self, stream: OutgoingStream, viewer: ViewerPresence) -> None:
        """See `SourceHandler`; nothing to do."""

    def on_feedback(self, stream: OutgoingStream, feedback: StreamFeedback) -> None:
        """See `SourceHandler`; nothing to do."""

    def on_retained_state(self, stream: OutgoingStream, state: bytes) -> None:
        """See `SourceHandler`; nothing to do."""

    def on_voice(self, stream: OutgoingStream, participant: str, opus_frame: bytes) -> None:
        """See `SourceHandler`; nothing to do."""
