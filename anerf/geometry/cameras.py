"""Cameras: pixels to viewing directions and back, with the lens distortion inside.

Camera axes are OpenGL's: x right, y up, looking along -z. Pixel (column i, row j) has its centre at
(i + 0.5, j + 0.5). Models and parameters carry COLMAP's names and order.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anerf.errors import InputError
from anerf.geometry.camera_models import CAMERA_MODELS, PARAMETER_NAMES, two_focal_sibling
from anerf.geometry.distortion import Lens, lens_of
from anerf.geometry.lenses import directions_of_plane, plane_of_points

_ROWS_AT_ONCE = 128


@dataclass(frozen=True)
class Camera:
    """Intrinsics of one picture size: focal lengths and centre in pixels, distortion without unit."""

    model: str
    width: int
    height: int
    params: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuses unknown models and parameters that cannot be a camera."""
        names = PARAMETER_NAMES.get(self.model)
        if names is None:
            raise InputError(
                f"camera model {self.model} is not known (known: {', '.join(PARAMETER_NAMES)}); "
                "undistort the pictures to PINHOLE first, for example with colmap image_undistorter"
            )
        if len(self.params) != len(names) or not all(math.isfinite(p) for p in self.params):
            raise InputError(
                f"camera model {self.model} needs {len(names)} finite parameters ({', '.join(names)}), "
                f"not {self.params}; correct the camera's entry"
            )
        if self.width < 1 or self.height < 1 or self.fx <= 0 or self.fy <= 0:
            raise InputError(
                f"a camera of {self.width} x {self.height} pixels with focal lengths {self.fx}, {self.fy} "
                "cannot be: size and focal length must be positive; correct the camera's entry"
            )
        if self.model == "FOV" and abs(self.named["omega"]) >= math.pi:
            raise InputError(
                f"a FOV camera with omega {self.named['omega']} cannot be: it must lie between -pi and pi; "
                "correct the camera's entry"
            )
        if self.model == "EUCM" and not (0 <= self.named["alpha"] <= 1 and self.named["beta"] > 0):
            raise InputError(
                f"an EUCM camera with alpha {self.named['alpha']} and beta {self.named['beta']} cannot be: "
                "alpha must lie between 0 and 1 and beta above 0; correct the camera's entry"
            )

    @classmethod
    def from_fov(cls, width: int, height: int, fov_y_deg: float) -> "Camera":
        """A pinhole camera with square pixels, centred, seeing `fov_y_deg` from top to bottom."""
        if not 0 < fov_y_deg < 180:
            raise InputError(f"a field of view of {fov_y_deg} degrees cannot be; give one between 0 and 180")
        focal_px = 0.5 * height / math.tan(math.radians(fov_y_deg) / 2)
        return cls("PINHOLE", width, height, (focal_px, focal_px, width / 2, height / 2))

    @property
    def named(self) -> dict[str, float]:
        """Parameters by COLMAP's names."""
        return dict(zip(PARAMETER_NAMES[self.model], self.params, strict=True))

    @property
    def fx(self) -> float:
        """Horizontal focal length in pixels; of an equirectangular picture, pixels a radian."""
        return self.named["w"] / math.tau if self.model == "EQUIRECTANGULAR" else self.params[0]

    @property
    def fy(self) -> float:
        """Vertical focal length in pixels; of an equirectangular picture, pixels a radian."""
        if self.model == "EQUIRECTANGULAR":
            return self.named["h"] / math.pi
        return self.named.get("fy", self.params[0])

    @property
    def cx(self) -> float:
        """Column of the principal point, in pixels from the left edge."""
        return self.named["w"] / 2 if self.model == "EQUIRECTANGULAR" else self.named["cx"]

    @property
    def cy(self) -> float:
        """Row of the principal point, in pixels from the top edge."""
        return self.named["h"] / 2 if self.model == "EQUIRECTANGULAR" else self.named["cy"]

    @property
    def lens(self) -> Lens:
        """What bends the light, without focal lengths and centre."""
        model = CAMERA_MODELS[self.model]
        named = self.named
        return lens_of(model.family, tuple(named[name] for name in model.coefficients))

    def scaled(self, downscale: float) -> "Camera":
        """The same lens over a picture resized by `downscale` (0.25: a quarter of the width and height).

        The new size is rounded to whole pixels and the intrinsics follow the ratio that really results.
        Where that ratio differs between the axes, a model with one focal length becomes one with two.
        """
        width, height = max(1, round(self.width * downscale)), max(1, round(self.height * downscale))
        sx, sy = width / self.width, height / self.height
        model, values = self.model, self.named
        if sx != sy:
            model, values = two_focal_sibling(model, values)
        if model == "EQUIRECTANGULAR":
            return Camera(model, width, height, (self.named["w"] * sx, self.named["h"] * sy))
        fx, fy, cx, cy = self.fx * sx, self.fy * sy, self.cx * sx, self.cy * sy
        values = values | {"f": fx, "fx": fx, "fy": fy, "cx": cx, "cy": cy}
        return Camera(model, width, height, tuple(values[name] for name in PARAMETER_NAMES[model]))


def pixel_directions(camera: Camera, xy: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 3"]:
    """Unit viewing directions, in camera axes, of pixel positions (pixels, centres at +0.5).

    Those of positions where the lens has no picture (see `seen_positions`) are finite but meaningless.
    """
    return _directions(camera, xy)[0]


def seen_positions(camera: Camera, xy: Float[Tensor, "*n 2"]) -> Bool[Tensor, "*n"]:
    """At which pixel positions the lens has a picture: where its distortion can be undone."""
    return _directions(camera, xy)[1]


def seen_pixels(camera: Camera) -> Bool[np.ndarray, "h w"] | None:
    """Where in its picture the camera's lens has an image; None if that is everywhere, as for most lenses.

    Elsewhere the distortion folds back or would need a direction beyond what the model can see: such pixels
    have no viewing direction and must not be learned from.
    """
    x = torch.arange(camera.width, dtype=torch.float64) + 0.5
    y = torch.arange(camera.height, dtype=torch.float64) + 0.5
    # What a lens sees has no holes: if the picture's rim is seen, so is all within.
    rim = [torch.cartesian_prod(y[[0, -1]], x).flip(-1), torch.cartesian_prod(x[[0, -1]], y)]
    if bool(seen_positions(camera, torch.cat(rim)).all()):
        return None
    blocks = (torch.cartesian_prod(rows, x).flip(-1) for rows in y.split(_ROWS_AT_ONCE))
    return torch.cat([seen_positions(camera, xy) for xy in blocks]).reshape(len(y), len(x)).numpy()


def project(
    camera: Camera, points_cam: Float[Tensor, "*n 3"]
) -> tuple[Float[Tensor, "*n 2"], Bool[Tensor, "*n"]]:
    """Pixel positions of points in camera axes, and which points the lens can see.

    A perspective lens sees what lies in front of it (z < 0), a fisheye, division, EUCM or equirectangular one
    also what lies sideways and behind, each as far as its distortion is unambiguous: a direction that the
    polynomial folds back into the picture is not seen. Whether a position is inside the picture is not asked.
    Positions of points that are not seen are finite but meaningless.
    """
    axes = points_cam.new_tensor((1.0, -1.0, -1.0))
    plane, seen = plane_of_points(camera.lens, points_cam * axes)
    return plane * plane.new_tensor((camera.fx, camera.fy)) + plane.new_tensor((camera.cx, camera.cy)), seen


def _directions(camera: Camera, xy: Tensor) -> tuple[Tensor, Tensor]:
    plane = (xy - xy.new_tensor((camera.cx, camera.cy))) / xy.new_tensor((camera.fx, camera.fy))
    directions, seen = directions_of_plane(camera.lens, plane)
    return directions * directions.new_tensor((1.0, -1.0, -1.0)), seen
