"""Cameras, experts and sparse points over the rendered picture, as the browser's own nodes.

They are made when first asked for, and drawn over the picture whatever stands in front of them: a picture's
soft depth would hide half of what people look for.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import viser
from jaxtyping import Float

from anerf.geometry.boxes import Aabb
from anerf.products.page import N_EXPERT_COLORS, N_SPLIT_COLORS, PALETTE
from anerf.scene.frames import Frame
from anerf.viewer.camera import ViewFrame, box_edges
from anerf.viewer.surroundings import Surroundings

Part = Literal["experts", "cameras", "points"]
# In units of the learning frame, where the scene reaches from -1 to 1.
_FRUSTUM = 0.03
_POINT = 0.004
_SPLIT_WORDS = ("blue", "orange", "violet", "green", "pink", "yellow")
_SCENE_BOX_RGB = (235, 235, 240)


class SceneNodes:
    """One client's nodes. `boxes` and `centroids` are the experts', in ENU metres like `scene_box`."""

    def __init__(
        self,
        api: viser.SceneApi,
        frame: ViewFrame,
        scene_box: Aabb,
        boxes: Sequence[Aabb],
        centroids: Float[np.ndarray, "e 3"],
        surroundings: Surroundings,
    ) -> None:
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
            color = rgb(f"e{i % N_EXPERT_COLORS}")
            nodes.append(self._lines(f"/scene/experts/{i}", box_edges(box), color))
            place = self._frame.point((float(centroid[0]), float(centroid[1]), box.hi[2]))
            nodes.append(
                self._api.add_label(
                    f"/scene/numbers/{i}", f"expert {i}", position=place, anchor="bottom-center"
                )
            )
        return nodes

    def _cameras(self) -> list[viser.SceneNodeHandle]:
        nodes = []
        for number, split in enumerate(self._surroundings.splits):
            frames = [frame for frame in self._surroundings.frames if frame.split == split]
            edges = np.concatenate([frustum_edges(frame, _FRUSTUM * self._frame.scale) for frame in frames])
            nodes.append(self._lines(f"/scene/cameras/{number}", edges, rgb(f"s{number % N_SPLIT_COLORS}")))
        return nodes

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


def rgb(name: str) -> tuple[int, int, int]:
    """A colour of the palette, as it is on dark ground."""
    red, green, blue = bytes.fromhex(PALETTE[name][1][1:])
    return red, green, blue
