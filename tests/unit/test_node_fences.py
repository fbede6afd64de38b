"""A node obeys only the newest fence of a view: what a zombie broker or a late packet brings changes nothing."""

import asyncio
import contextlib

import pytest

from broker.protocol import (
    Codec,
    DropView,
    H264Profile,
    Mode,
    NodeCapability,
    PutView,
    PutWorld,
    RegisterNode,
    TrunkTarget,
    ViewHolding,
)
from render_farm.node import NodeSettings, RenderNode
from render_farm.scene.library import SceneLibrary
from tests.unit.test_resident_scenes import Recorder


def put_view(fence: int, fps: float = 30) -> PutView:
    return PutView(
        view="v",
        stream="v",
        fence=fence,
        room="r",
        participant="p",
        width=320,
        height=180,
        fps=fps,
        codec=Codec.H264,
        profile=H264Profile.MAIN,
        max_bitrate_bps=1e6,
        targets=[TrunkTarget(edge="e", url="ws://127.0.0.1:9/trunk", token="t")],
    )


@pytest.fixture
async def node():
    capability = NodeCapability(renderer="none", device="none", units=1.0, codecs=[Codec.H264], scenes=["campus"])
    settings = NodeSettings("n1", "r1", "http://127.0.0.1:9", "token", stamped=False)
    renderer = Recorder()
    renderer.close = lambda: None  # type: ignore[method-assign]
    node = RenderNode(settings, renderer, SceneLibrary(()), capability)
    running = asyncio.create_task(node.run())
    await asyncio.sleep(0)
    await node._obey(PutWorld(room="r", mode=Mode.EXPLORE, scene="campus", participants=[]))
    await node._obey(put_view(fence=5))
    yield node
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def held(node: RenderNode) -> list[ViewHolding]:
    registration = node._registration()
    assert isinstance(registration, RegisterNode)
    return registration.views


async def test_older_fence_neither_changes_nor_ends_a_view(node: RenderNode) -> None:
    await node._obey(put_view(fence=4, fps=5))
    await node._obey(DropView(view="v", fence=4))
    assert held(node) == [ViewHolding(view="v", fence=5)]
    assert node.loop.views["v"].put.fps == 30


async def test_newer_fence_begins_the_view_anew_and_its_own_or_a_newer_one_ends_it(node: RenderNode) -> None:
    before = node.loop.views["v"]
    await node._obey(put_view(fence=6))
    assert held(node) == [ViewHolding(view="v", fence=6)]
    assert node.loop.views["v"] is not before
    await node._obey(DropView(view="v", fence=7))
    assert held(node) == []
