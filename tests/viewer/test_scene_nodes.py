"""The scene over the picture, on a real viser server."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import viser

from anerf.checkpoint.manifest import SceneStamp
from anerf.partition.regions import load_partition
from anerf.scene.scene import Scene
from anerf.viewer.camera import ViewFrame
from anerf.viewer.panels.scene_parts import ScenePartsPanel
from anerf.viewer.scene_nodes import SceneNodes, frustum_edges, split_words
from anerf.viewer.surroundings import Surroundings, surroundings_of


@pytest.fixture(scope="module")
def server() -> Iterator[viser.ViserServer]:
    started = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def surroundings(tiny_scene: Scene) -> Surroundings:
    return surroundings_of(SceneStamp.of(tiny_scene))


def nodes_of(server: viser.ViserServer, scene: Scene, surroundings: Surroundings) -> SceneNodes:
    server.scene.reset()
    partition = load_partition(scene, "g22")
    frame = ViewFrame(scene.origin, scene.scale)
    return SceneNodes(
        server.scene,
        frame,
        scene.aabb,
        partition.boxes,
        partition.centroids,
        surroundings,
        lambda frame: None,
    )


def test_nothing_is_there_until_it_is_asked_for(server, tiny_scene, surroundings):
    nodes = nodes_of(server, tiny_scene, surroundings)
    nodes.show("points", False)
    assert nodes._made == {}
    nodes.show("points", True)
    (cloud,) = nodes._made["points"]
    assert isinstance(cloud, viser.PointCloudHandle)
    assert len(cloud.points) == len(tiny_scene.points()[0])
    nodes.show("points", False)
    assert not cloud.visible
    nodes.show("points", True)
    assert nodes._made["points"] == [cloud]
    assert cloud.visible


def test_cameras_are_pyramids_by_split_in_the_learning_frame(server, tiny_scene, surroundings):
    nodes = nodes_of(server, tiny_scene, surroundings)
    nodes.show("cameras", True)
    made = nodes._made["cameras"][::2]
    assert len(made) == len(tiny_scene.splits()) == 3
    pyramids = nodes._made["cameras"][1]
    assert isinstance(pyramids, viser.BatchedMeshHandle)
    assert len(pyramids.batched_positions) == len(tiny_scene.frames_of("train"))
    first = tiny_scene.frames_of("train")[0]
    train = made[0]
    assert isinstance(train, viser.LineSegmentsHandle)
    assert len(train.points) == 8 * len(tiny_scene.frames_of("train"))
    assert np.allclose(train.points[:4, 0], tiny_scene.to_learning(first.c2w[:, 3]), atol=1e-6)


def test_experts_are_boxes_with_numbers(server, tiny_scene, surroundings):
    nodes = nodes_of(server, tiny_scene, surroundings)
    nodes.show("experts", True)
    labels = [node for node in nodes._made["experts"] if isinstance(node, viser.LabelHandle)]
    assert [label.text for label in labels] == ["expert 0", "expert 1", "expert 2", "expert 3"]
    lines = [node for node in nodes._made["experts"] if isinstance(node, viser.LineSegmentsHandle)]
    assert len(lines) == 5
    around = tiny_scene.aabb_learning
    assert np.allclose(lines[0].points.reshape(-1, 3).min(axis=0), around.lo, atol=1e-6)
    partition = load_partition(tiny_scene, "g22")
    top = tiny_scene.to_learning(np.array([*partition.centroids[2, :2], partition.boxes[2].hi[2]]))
    assert np.allclose(labels[2].position, top)


def test_a_pyramid_has_the_lens_angle_and_the_cameras_pose(tiny_scene):
    frame = tiny_scene.frames[0]
    edges = frustum_edges(frame, 10.0)
    assert edges.shape == (8, 2, 3)
    inside = (edges[:4, 1] - frame.c2w[:, 3]) @ frame.c2w[:, :3]
    camera = frame.camera
    assert np.allclose(inside[:, 2], -10)
    assert np.ptp(inside[:, 0]) == pytest.approx(10 * camera.width / camera.fx)
    assert np.ptp(inside[:, 1]) == pytest.approx(10 * camera.height / camera.fy)
    assert np.allclose(edges[4:, 0], edges[:4, 1])


def test_without_the_scene_only_boxes_can_be_shown_and_the_panel_says_so(server, tiny_scene):
    gone = surroundings_of(replace(SceneStamp.of(tiny_scene), root="/nowhere/town"))
    assert gone.missing is not None
    assert "`/nowhere/town` is not on this machine" in gone.missing
    panel = ScenePartsPanel(server.gui, gone)
    assert {part: box.disabled for part, box in panel.switches.items()} == {
        "experts": False,
        "cameras": True,
        "points": True,
    }
    asked: list[tuple[str, bool]] = []
    panel.on_part(lambda part, visible: asked.append((part, visible)))
    panel.switches["experts"].value = True
    assert not any(box.value for part, box in panel.switches.items() if part != "experts")
    nodes = nodes_of(server, tiny_scene, gone)
    nodes.show("experts", True)
    nodes.show("cameras", True)
    assert len(nodes._made["experts"]) == 9
    assert nodes._made["cameras"] == []


def test_a_scene_that_may_not_be_looked_at_is_not_here_either(tiny_scene):
    unlikely = surroundings_of(replace(SceneStamp.of(tiny_scene), root="/" + "x" * 300))
    assert "is not on this machine or cannot be read" in (unlikely.missing or "")


def test_a_scene_about_another_reference_is_not_mixed_in(tiny_scene):
    stamp = SceneStamp.of(tiny_scene)
    moved = replace(stamp, reference=(stamp.reference[0] + 1e-5, *stamp.reference[1:]))
    found = surroundings_of(moved)
    assert found.frames == ()
    assert "another reference" in (found.missing or "")


def test_nothing_is_on_at_first(server, surroundings):
    panel = ScenePartsPanel(server.gui, surroundings)
    assert not any(box.value or box.disabled for box in panel.switches.values())


def test_colours_have_names():
    assert split_words(("train", "val", "flood")) == "train blue, val orange, flood violet"
