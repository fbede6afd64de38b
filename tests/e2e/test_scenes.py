"""Operators' own scenes, good and broken, through the whole system."""

import shutil
from pathlib import Path

import pytest

from broker.protocol import Ended, JoinRequest, Mode, RoomCreate
from client_demo.headless.api import BrokerClient, Refused
from client_demo.headless.viewer import HeadlessViewer
from tests.support.running_farm import running_farm
from tests.support.waiting import frames_until, until

FOX = Path(__file__).parents[2] / ".." / "shared" / "assets" / "Fox.glb"
CAMPUS = Path(__file__).parents[2] / "render_farm" / "scene" / "assets" / "campus.glb"


async def test_broken_scene_is_named_and_the_node_keeps_serving(tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    (scenes / "broken.glb").write_bytes(CAMPUS.read_bytes()[:5000])
    async with (
        running_farm(tmp_path / "state", flags=(f"node.scene_dirs={scenes}",)) as farm,
        BrokerClient(farm.broker_url, farm.api_key) as client,
    ):
        other = await client.join("walk", JoinRequest(display_name="Bohr"))
        async with HeadlessViewer(client, other) as unharmed:
            await frames_until(unharmed, 5)
            await client.create_room(RoomCreate(room="bad", mode=Mode.EXPLORE, scene="broken", open=True))
            grant = await client.join("bad", JoinRequest(display_name="Ada"))
            async with HeadlessViewer(client, grant) as viewer:
                await until(lambda: any(isinstance(event, Ended) for event in viewer.events), "an end with a reason")
            log = farm.roles["node-1"].log_path.read_text()
            assert "broken.glb" in log
            await frames_until(unharmed, 20)
            assert unharmed.reception.crc_failures == 0


@pytest.mark.skipif(not FOX.exists(), reason="the shared test models are not on this machine")
async def test_operators_model_is_shown_as_it_is(tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    shutil.copy(FOX, scenes / "Fox.glb")
    async with (
        running_farm(tmp_path / "state", flags=(f"node.scene_dirs={scenes}",)) as farm,
        BrokerClient(farm.broker_url, farm.api_key) as client,
    ):
        await client.create_room(RoomCreate(room="fox", mode=Mode.GALLERY, scene="fox", open=True))
        grant = await client.join("fox", JoinRequest(display_name="Ada"))
        async with HeadlessViewer(client, grant) as viewer:
            viewer.send_input(yaw=0.3)
            await frames_until(viewer, 5)
            assert viewer.reception.crc_failures == 0


async def test_unknown_scene_is_refused_with_its_name(tmp_path: Path) -> None:
    async with running_farm(tmp_path) as farm, BrokerClient(farm.broker_url, farm.api_key) as client:
        with pytest.raises(Refused, match=r"atlantis.*known are campus"):
            await client.create_room(RoomCreate(room="lost", mode=Mode.EXPLORE, scene="atlantis", open=True))
