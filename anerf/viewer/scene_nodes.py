"""Cameras, experts and sparse points over the rendered picture, as the browser's own nodes.

They are made when first asked for, and drawn over the picture whatever stands in front of them: a picture's
soft depth would hide half of what people look for.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import viser
from jaxtyping import Float

from anerf.geometry.boxes import Aabb
from anerf.products.page import N_SPLIT_COLORS
from anerf.scene.frames import Frame
from anerf.viewer.camera import ViewFrame, box_edges
from anerf.viewer.layer_colors import expert_rgb, palette_rgb
from anerf.viewer.surroundings import Surroundings

Part = Literal["experts", "cameras", "points"]
# In units of the learning frame, where the scene reaches from -1 to 1.
_FRUSTUM = 0.03
_POINT = 0.004
_SPLIT_WORDS = ("blue", "orange", "violet", "green", "pink", "yellow")
_SCENE_BOX_RGB = (235, 235, 240)
# Of a camera that looks along z (OpenCV axes), with a picture from -1 to 1 at distance 1.
_PYRAMID_CORNERS = np.array([[0, 0, 0], [-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], np.float32)
_PYRAMID_FACES = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 1], [1, 3, 2], [1, 4, 3]], np.uint32)


class SceneNodes:
    """One client's nodes. `boxes` and `centroids` are the experts', in ENU metres like `scene_box`.

    `visit` is called with the frame of a camera that was clicked.
    """

    def __init__(
        self,
        api: viser.SceneApi,
        frame: ViewFrame,
        scene_box: Aabb,
        boxes: Sequence[Aabb],
        centroids: Float[np.ndarray, "e 3"],
        surroundings: Surroundings,
        visit: Callable[[Frame], None],
    ) -> None:
        self._visit = visit
        self._api, self._frame, self._scene_box = api, frame, scene_box
        self._boxes, self._centroids, self._surroundings = boxes, centroids, surroundings
        self._made: dict[Part, list[viser.SceneNodeHandle]] = {}

    def show(self, part: Part, visible: bool) -> None:
        """Shows or hides a part."""
        if part not in self._made:
            if not visible:
                return
            make = {"experts": self._experts, "cameras": self._cameras, "points": self._points}
            self._made[part] = make[part]()
        for node in self._made[part]:
            node.visible = visible

    def _experts(self) -> list[viser.SceneNodeHandle]:
        nodes = [self._lines("/scene/box", box_edges(self._scene_box), _SCENE_BOX_RGB)]
        for i, (box, centroid) in enumerate(zip(self._boxes, self._centroids, strict=True)):
            color = expert_rgb(i)
            nodes.append(self._lines(f"/scene/experts/{i}", box_edges(box), color))
            place = self._frame.point((float(centroid[0]), float(centroid[1]), box.hi[2]))
            nodes.append(
                self._api.add_label(
                    f"/scene/numbers/{i}", f"expert {i}", position=place, anchor="bottom-center"
                )
            )
        return nodes

    def _cameras(self) -> list[viser.SceneNodeHandle]:
        nodes: list[viser.SceneNodeHandle] = []
        for number, split in enumerate(self._surroundings.splits):
            frames = [frame for frame in self._surroundings.frames if frame.split == split]
            edges = np.concatenate([frustum_edges(frame, _FRUSTUM * self._frame.scale) for frame in frames])
            color = palette_rgb(f"s{number % N_SPLIT_COLORS}")
            nodes.append(self._lines(f"/scene/cameras/{number}", edges, color))
            nodes.append(self._pyramids(f"/scene/pyramids/{number}", frames, color))
        return nodes

    def _pyramids(
        self, name: str, frames: Sequence[Frame], color: tuple[int, int, int]
    ) -> viser.SceneNodeHandle:
        """Cameras as bodies, so that they can be clicked; one node for all of them."""
        poses = [self._frame.from_enu(frame.c2w) for frame in frames]
        sizes = [
            (frame.camera.width / frame.camera.fx / 2, frame.camera.height / frame.camera.fy / 2, 1.0)
            for frame in frames
        ]
        pyramids = self._api.add_batched_meshes_simple(
            name,
            _PYRAMID_CORNERS,
            _PYRAMID_FACES,
            batched_wxyzs=np.array([wxyz for wxyz, _ in poses]),
            batched_positions=np.array([position for _, position in poses]),
            batched_scales=np.array(sizes) * _FRUSTUM,
            batched_colors=color,
            opacity=0.25,
            side="double",
            lod="off",
            cast_shadow=False,
            receive_shadow=False,
        )

        @pyramids.on_click
        def _(event: viser.SceneNodePointerEvent[viser.BatchedMeshHandle]) -> None:
            if event.instance_index is not None:
                self._visit(frames[event.instance_index])

        return pyramids

    def _points(self) -> list[viser.SceneNodeHandle]:
        if not len(self._surroundings.points_xyz):
            return []
        places = self._frame.point(self._surroundings.points_xyz).astype(np.float32)
        colors = self._surroundings.points_rgb
        cloud = self._api.add_point_cloud(
            "/scene/points", places, colors, point_size=_POINT, precision="float32", point_shading="flat"
        )
        return [cloud]

    def _lines(
        self, name: str, edges: Float[np.ndarray, "n 2 3"], color: tuple[int, int, int]
    ) -> viser.SceneNodeHandle:
        places = self._frame.point(edges).astype(np.float32)
        return self._api.add_line_segments(name, places, color, thickness=2.0, thickness_units="screen")


def frustum_edges(frame: Frame, length_m: float) -> Float[np.ndarray, "8 2 3"]:
    """A photograph's pyramid, ENU metres: from the camera to its corners at `length_m`, and around them.

    The lens' distortion is left out.
    """
    camera = frame.camera
    left, right = -camera.cx / camera.fx, (camera.width - camera.cx) / camera.fx
    top, bottom = camera.cy / camera.fy, (camera.cy - camera.height) / camera.fy
    corners = np.array([[left, top, -1], [right, top, -1], [right, bottom, -1], [left, bottom, -1]])
    far = corners * length_m @ frame.c2w[:, :3].T + frame.c2w[:, 3]
    eye = np.broadcast_to(frame.c2w[:, 3], far.shape)
    return np.concatenate((np.stack((eye, far), axis=1), np.stack((far, np.roll(far, -1, axis=0)), axis=1)))


def split_words(splits: Sequence[str]) -> str:
    """Which colour a split's cameras have, in words."""
    colors = (_SPLIT_WORDS[number % N_SPLIT_COLORS] for number in range(len(splits)))
    return ", ".join(f"{split} {color}" for split, color in zip(splits, colors, strict=True))
