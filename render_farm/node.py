"""A render node: does what the broker commands, hosts worlds, and answers what edges ask of its views."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import msgspec
import numpy as np
import psutil
import structlog

from broker.agent import AgentLink
from broker.protocol import (
    BrokerMessage,
    Drain,
    DropParticipant,
    DropView,
    DropWorld,
    NodeCapability,
    NodeHeartbeat,
    NodeLoad,
    ParticipantChanged,
    PutParticipant,
    PutView,
    PutWorld,
    RegisterNode,
    RosterJoined,
    TrunkTarget,
    ViewFailed,
    ViewHolding,
    ViewStarted,
    decode_client_message,
    encode,
)
from edge.trunk import (
    LINGER_S,
    OutgoingStream,
    PeerWatch,
    StreamFeedback,
    TrunkPool,
    ViewerAudio,
    ViewerInput,
    ViewerPresence,
    watch_forever,
)
from render_farm.audio.room_audio import Sound
from render_farm.audio_loop import AudioLoop
from render_farm.frame_loop import FrameLoop
from render_farm.renderer.interface import Renderer, RenderError
from render_farm.resident_scenes import ResidentScenes
from render_farm.scene.library import SceneLibrary
from render_farm.scene.model import SceneError
from render_farm.view import LiveView
from render_farm.world.world import World, WorldEvent

_log = structlog.get_logger(__name__)

HOUSEKEEPING_INTERVAL_S = 0.5
"""Retained state and the count of people leave at most this often, and idle trunks are looked for."""
SOFTWARE_VERSION = "0.1.0"
_UNIT_PIXELS_PER_S = 1280 * 720 * 30


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What a node needs to know. `stamped`: draw the barcode on every picture."""

    node: str
    region: str
    broker_url: str
    token: str
    stamped: bool


@dataclass(frozen=True, slots=True)
class _Viewer:
    """How to reach a participant: a session on a stream."""

    stream: OutgoingStream
    session: str


class RenderNode:
    """The node's state and its three conversations: broker, edges (`SourceHandler`), and its own frame loop."""

    def __init__(
        self, settings: NodeSettings, renderer: Renderer, library: SceneLibrary, capability: NodeCapability
    ) -> None:
        self.settings = settings
        self.capability = capability
        self.draining = False
        self.worlds: dict[str, World] = {}
        self.loop = FrameLoop(
            renderer, world_of=self._world_of, on_started=self._view_started, on_failed=self._view_failed
        )
        self.audio = AudioLoop(world_of=self.worlds.get, present=self._present, deliver=self._deliver_sounds)
        self.messages_malformed = 0
        self._renderer = renderer
        self._library = library
        self._scenes = ResidentScenes(library, renderer)
        self._unusable: dict[str, str] = {}
        """Why a room's scene cannot be shown here, by room."""
        self._views_of: dict[OutgoingStream, LiveView] = {}
        self._viewers: dict[tuple[str, str], _Viewer] = {}
        self._trunks: TrunkPool
        self._process = psutil.Process()
        self._counted_frames = 0
        self._counted_at_s = time.monotonic()
        self.link = AgentLink(
            settings.broker_url,
            settings.token,
            registration=self._registration,
            heartbeat=self._heartbeat,
            on_command=self._obey,
        )

    async def run(self) -> None:
        """Work until cancelled."""
        async with aiohttp.ClientSession() as http:
            watch = PeerWatch(self.link.mention)
            self._trunks = TrunkPool(self, http, watch)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self.link.run())
                    tasks.create_task(self.loop.run())
                    tasks.create_task(self.audio.run())
                    tasks.create_task(self._keep_house_forever())
                    tasks.create_task(watch_forever(watch, self._trunks.heard))
            finally:
                await self._trunks.close()
                self._renderer.close()

    # --- the broker's side ---

    def _registration(self) -> RegisterNode:
        holdings = [ViewHolding(view=live.put.view, fence=live.put.fence) for live in self.loop.views.values()]
        return RegisterNode(
            node=self.settings.node,
            region=self.settings.region,
            version=SOFTWARE_VERSION,
            capability=self.capability,
            views=holdings,
        )

    def _heartbeat(self) -> NodeHeartbeat:
        statistics = self.loop.statistics
        now = time.monotonic()
        frames_per_s = (statistics.frames - self._counted_frames) / max(now - self._counted_at_s, 1e-3)
        self._counted_frames, self._counted_at_s = statistics.frames, now
        puts = [live.put for live in self.loop.views.values()]
        load = NodeLoad(
            views=len(puts),
            units_used=sum(put.width * put.height * put.fps for put in puts) / _UNIT_PIXELS_PER_S,
            cpu_share=self._process.cpu_percent() / 100.0,
            render_ms_p50=float(np.median(statistics.render_ms)) if statistics.render_ms else 0.0,
            encode_ms_p50=float(np.median(statistics.encode_ms)) if statistics.encode_ms else 0.0,
            frames_per_s=frames_per_s,
            frames_dropped=statistics.frames_dropped + self._trunks.frames_dropped,
        )
        return NodeHeartbeat(load=load)

    async def _obey(self, command: BrokerMessage) -> None:
        match command:
            case PutWorld():
                await self._put_world(command)
            case DropWorld():
                self._drop_world(command.room)
                await self._scenes.forget_idle({world.scene for world in self.worlds.values()})
            case PutParticipant():
                self._in_world(command.room, lambda world: world.put_participant(command.participant))
            case DropParticipant():
                self._viewers.pop((command.room, command.participant), None)
                self._in_world(command.room, lambda world: world.drop_participant(command.participant))
            case PutView():
                self._put_view(command)
            case DropView():
                self._drop_view(command.view, command.fence)
            case Drain():
                self.draining = not command.cancelled
            case _:
                _log.warning("command_not_for_a_node", command=type(command).__name__)

    async def _put_world(self, put: PutWorld) -> None:
        try:
            scene = await asyncio.to_thread(self._library.load, put.scene)
            await self._scenes.load(scene)
        except (SceneError, RenderError) as error:
            _log.error("scene_unusable", room=put.room, scene=put.scene, error=str(error))
            self._unusable[put.room] = str(error)
            self.worlds.pop(put.room, None)
            return
        self._unusable.pop(put.room, None)
        world = self.worlds.get(put.room)
        if world is None or world.scene is not scene or world.mode is not put.mode:
            world = self.worlds[put.room] = World(put.room, put.mode, scene)
        for gone in world.people.keys() - {described.participant for described in put.participants}:
            world.drop_participant(gone)
        for described in put.participants:
            world.put_participant(described)
        self._tell(world)

    def _drop_world(self, room: str) -> None:
        self.worlds.pop(room, None)
        self._unusable.pop(room, None)
        for live in self._views_in(room):
            self._drop_view(live.put.view, live.put.fence)
        for key in [key for key in self._viewers if key[0] == room]:
            del self._viewers[key]

    def _in_world(self, room: str, change: Callable[[World], None]) -> None:
        world = self.worlds.get(room)
        if world is not None:
            change(world)
            self._tell(world)

    def _put_view(self, put: PutView) -> None:
        live = self.loop.views.get(put.view)
        if live is not None and live.put.fence > put.fence:
            return
        if put.room not in self.worlds:
            reason = self._unusable.get(put.room, f"room {put.room} has no world here")
            self.link.tell(ViewFailed(view=put.view, fence=put.fence, reason=reason[:500]))
            return
        if live is None or live.put.fence < put.fence:
            if live is not None:
                self._drop_view(put.view, put.fence)
            live = self.loop.views[put.view] = LiveView(put, stamped=self.settings.stamped)
        live.update(put)
        self._connect(live, put.targets)
        self.loop.wake()

    def _connect(self, live: LiveView, targets: list[TrunkTarget]) -> None:
        """Open streams to new edges; those to edges that others feed from now on, or that show nothing, end soon."""
        wanted, now = {target.edge for target in targets}, time.monotonic()
        for stream in live.streams:
            if live.edges[stream] in wanted:
                live.leaving.pop(stream, None)
            else:
                live.leaving.setdefault(stream, now + LINGER_S)
        for target in targets:
            self._trunks.renew(target)
            if target.edge not in live.edges.values():
                stream = self._trunks.open(target, live.description())
                live.feed(stream, target.edge)
                self._views_of[stream] = live

    def _close_stream(self, live: LiveView, stream: OutgoingStream, reason: str) -> None:
        stream.close(reason)
        live.drop(stream)
        self._views_of.pop(stream, None)

    def _drop_view(self, view: str, fence: int) -> None:
        live = self.loop.views.get(view)
        if live is None or live.put.fence > fence:
            return
        del self.loop.views[view]
        for stream in list(live.streams):
            self._close_stream(live, stream, "the view has ended")
        live.close_when_idle()

    def _view_started(self, live: LiveView) -> None:
        self.link.tell(ViewStarted(view=live.put.view, fence=live.put.fence))

    def _view_failed(self, live: LiveView, reason: str) -> None:
        if self.loop.views.get(live.put.view) is live:
            self._drop_view(live.put.view, live.put.fence)
            self.link.tell(ViewFailed(view=live.put.view, fence=live.put.fence, reason=reason[:500]))

    def _world_of(self, live: LiveView) -> World | None:
        return self.worlds.get(live.put.room)

    # --- the edges' side (SourceHandler) ---

    def on_opened(self, stream: OutgoingStream) -> None:
        """See `SourceHandler`."""
        live = self._views_of.get(stream)
        if live is not None:
            live.opened(stream, time.monotonic())
            self.loop.wake()

    def on_viewer(self, stream: OutgoingStream, viewer: ViewerPresence) -> None:
        """See `SourceHandler`."""
        live = self._views_of.get(stream)
        if live is None:
            return
        room, participant = live.put.room, viewer.participant
        if viewer.present:
            self._viewers[room, participant] = _Viewer(stream, viewer.session)
            self._in_world(room, lambda world: world.viewer_arrived(participant, fresh=viewer.fresh))
        else:
            self._viewers.pop((room, participant), None)
            self._in_world(room, lambda world: world.viewer_gone(participant))

    def on_input(self, stream: OutgoingStream, viewer_input: ViewerInput) -> None:
        """See `SourceHandler`."""
        live = self._views_of.get(stream)
        world = self._world_of(live) if live is not None else None
        if live is None or world is None:
            return
        try:
            message = decode_client_message(viewer_input.body)
        except msgspec.DecodeError:
            self.messages_malformed += 1
            return
        now, owner = time.monotonic(), live.put.participant
        shown = world.input_sequence(owner)
        world.take(viewer_input.participant, message, now)
        if world.input_sequence(owner) != shown and live.pacing.hasten(now):
            self.loop.wake()
        self._tell(world)

    def on_keyframe_request(self, stream: OutgoingStream, layer: int) -> None:
        """See `SourceHandler`."""
        live = self._views_of.get(stream)
        if live is not None:
            live.want_keyframe(stream, layer, time.monotonic())

    def on_feedback(self, stream: OutgoingStream, feedback: StreamFeedback) -> None:
        """See `SourceHandler`."""
        live = self._views_of.get(stream)
        if live is not None:
            live.take_feedback(stream, feedback, time.monotonic())
            self.loop.wake()

    def on_retained_state(self, stream: OutgoingStream, state: bytes) -> None:
        """See `SourceHandler`."""
        live = self._views_of.get(stream)
        world = self._world_of(live) if live is not None else None
        if live is None or world is None:
            return
        try:
            world.restore(live.put.participant, state)
        except msgspec.DecodeError:
            self.messages_malformed += 1

    def on_voice(self, stream: OutgoingStream, participant: str, opus_frame: bytes) -> None:
        """See `SourceHandler`."""
        live = self._views_of.get(stream)
        if live is not None:
            self.audio.take(live.put.room, participant, opus_frame)

    def on_refused(self, stream: OutgoingStream, reason: str) -> None:
        """See `SourceHandler`."""
        live = self._views_of.pop(stream, None)
        if live is None:
            return
        live.drop(stream)
        _log.info("stream_refused", view=live.put.view, reason=reason)
        if not live.streams:
            self._drop_view(live.put.view, live.put.fence)

    # --- what people hear ---

    def _present(self, room: str) -> list[str]:
        return [name for (of_room, name), viewer in self._viewers.items() if of_room == room and viewer.stream.accepted]

    def _deliver_sounds(self, room: str, sounds: list[Sound], capture_time_us: int) -> None:
        for sound in sounds:
            sessions: dict[OutgoingStream, set[str]] = {}
            if sound.everybody_else:
                sessions = {stream: set() for live in self._views_in(room) for stream in live.streams}
            for name in sound.listeners:
                viewer = self._viewers.get((room, name))
                if viewer is not None:
                    sessions.setdefault(viewer.stream, set()).add(viewer.session)
            for stream, named in sessions.items():
                stream.send_audio(
                    ViewerAudio(sound.opus_frame, capture_time_us, frozenset(named), sound.everybody_else)
                )

    def _views_in(self, room: str) -> list[LiveView]:
        return [live for live in self.loop.views.values() if live.put.room == room]

    # --- what people are told ---

    def _tell(self, world: World) -> None:
        for event in world.take_events():
            if event.participant is None:
                self._tell_room(world, event)
            else:
                viewer = self._viewers.get((world.room, event.participant))
                if viewer is not None:
                    viewer.stream.send_event(encode(event.event), viewer.session)

    def _tell_room(self, world: World, event: WorldEvent) -> None:
        body = encode(event.event)
        for live in self._views_in(world.room):
            for stream in live.streams:
                stream.send_event(body)
        if isinstance(event.event, RosterJoined):
            entry = event.event.participant
            self.link.tell(
                ParticipantChanged(room=world.room, participant=entry.participant, hand_raised=entry.hand_raised)
            )

    async def _keep_house_forever(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_INTERVAL_S)
            for world in self.worlds.values():
                world.tell_total()
                self._tell(world)
            now = time.monotonic()
            for live in self.loop.views.values():
                for stream in [stream for stream, end_s in live.leaving.items() if now >= end_s]:
                    self._close_stream(live, stream, "no longer wanted")
                hosted = self._world_of(live)
                if hosted is not None and live.watched:
                    state = hosted.retained(live.put.participant)
                    for stream in live.streams:
                        stream.send_state(state)
            await self._trunks.close_idle()
