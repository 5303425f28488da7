"""How pictures of the viewer are coloured."""

from dataclasses import replace

import numpy as np
import pytest

from anerf.geometry.cameras import Camera
from anerf.geometry.rays import look_at
from anerf.render.view import Picture
from anerf.viewer.choices import Appearance, Choices, Quality, View
from anerf.viewer.drawing import columns, difference, paint, side_by_side
from anerf.viewer.layer_colors import NOTHING_RGB, exposed_by, view_normals
from anerf.viewer.panels.layers import legend_html

VIEW = View(look_at((0.0, 0.0, 10.0), (0.0, 0.0, 0.0)), 60.0, 4 / 3, Choices(quality=Quality(8, 64)))
CAMERA = VIEW.camera(64)


def flat(rgb: float, depth_m: float, opacity: float = 1.0, expert: int = 0) -> Picture:
    """What a camera sees that looks down on level ground of one colour, at most."""
    shape = (CAMERA.height, CAMERA.width)
    rays = np.hypot(*np.meshgrid(*((np.arange(n) + 0.5 - n / 2) / CAMERA.fx for n in shape[::-1])))
    return Picture(
        np.full((*shape, 3), rgb, np.float32),
        (depth_m * np.sqrt(1 + rays**2)).astype(np.float32),
        np.full(shape, opacity, np.float32),
        np.full(shape, expert, np.int16),
    )


def looking_at(layer, **look) -> View:
    return replace(VIEW, choices=replace(VIEW.choices, appearance=Appearance(layer=layer, **look)))


def test_ground_faces_up() -> None:
    normals = view_normals(CAMERA, VIEW.c2w, flat(0.5, 10.0))
    assert np.allclose(normals, [0, 0, 1], atol=1e-3)
    drawing = paint(flat(0.5, 10.0), CAMERA, looking_at("normals"))
    assert drawing.colors[24, 32].tolist() == pytest.approx([127.5, 127.5, 255], abs=1)


def test_thin_ground_has_normals_as_over_http_and_no_depth_in_colours() -> None:
    thin = flat(0.5, 10.0, opacity=0.3)
    assert np.allclose(view_normals(CAMERA, VIEW.c2w, thin), [0, 0, 1], atol=1e-3)
    assert not view_normals(CAMERA, VIEW.c2w, flat(0.5, 10.0, opacity=0.05)).any()
    assert (paint(thin, CAMERA, looking_at("depth")).colors == NOTHING_RGB).all()


def test_one_stop_doubles_the_light() -> None:
    # Linear 0.2 and 0.4 as sRGB.
    assert exposed_by(np.array([0.48453], np.float32), 1.0) == pytest.approx([0.66519], abs=1e-4)
    assert exposed_by(np.array([0.3], np.float32), 0.0) == pytest.approx([0.3])


def test_depth_has_a_legend_in_metres() -> None:
    drawing = paint(flat(0.5, 10.0), CAMERA, looking_at("depth", range_m=(0.0, 20.0)))
    assert drawing.legend is not None
    assert (drawing.legend.low, drawing.legend.high, drawing.legend.unit) == (0, 20, "m")
    text = legend_html(drawing.legend)
    assert ">0 m<" in text
    assert ">10 m<" in text
    assert ">20 m<" in text


def test_experts_have_their_colours_in_the_legend() -> None:
    drawing = paint(flat(0.5, 10.0, expert=3), CAMERA, looking_at("expert"))
    assert drawing.legend is not None
    assert drawing.legend.experts == (3,)


def test_a_change_is_told_in_metres_or_in_shares_of_colour() -> None:
    deep = difference(flat(0.5, 10.0), flat(0.5, 13.0), Appearance(layer="depth"))
    assert deep.legend is not None
    # 3 m straight down, 1.39 times that in the corners.
    assert deep.legend.high == pytest.approx(3 * 1.36, abs=0.1)
    assert deep.legend.unit == "m"
    light = difference(flat(0.5, 10.0), flat(0.7, 10.0), Appearance())
    assert light.legend is not None
    assert light.legend.high == pytest.approx(20)


def test_parts_of_a_picture_join_without_a_seam() -> None:
    left, right = columns(CAMERA, 0, 20), columns(CAMERA, 20, 64)
    assert (left.width, right.width) == (20, 44)
    assert (right.cx, right.cy) == (CAMERA.cx - 20, CAMERA.cy)
    assert side_by_side([flat(0.1, 1.0), flat(0.2, 1.0)]).rgb.shape == (48, 128, 3)


@pytest.mark.parametrize(("aspect", "width"), [(4 / 3, 64), (2.0, 64), (0.5, 39), (0.01, 30)])
def test_tall_pictures_have_no_more_pixels_than_wide_ones(aspect: float, width: int) -> None:
    view = replace(VIEW, aspect=aspect)
    assert view.full_width_px == width
    camera: Camera = view.camera(view.full_width_px)
    assert camera.width * camera.height <= 64 * 48 * 1.05
