"""Camera models: pixels to viewing directions and back, with the lens distortion inside.

Camera axes are OpenGL's: x right, y up, looking along -z. Pixel (column i, row j) has its centre at
(i + 0.5, j + 0.5). Models and parameters carry COLMAP's names and order.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anerf.errors import InputError

PARAMETER_NAMES: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
}
# Newton's method doubles the correct digits each time; lenses of drones need four to six.
_NEWTON_STEPS = 10


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
                f"camera model {self.model} is not supported (known: {', '.join(PARAMETER_NAMES)}); "
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
        """Horizontal focal length in pixels."""
        return self.params[0]

    @property
    def fy(self) -> float:
        """Vertical focal length in pixels."""
        return self.named.get("fy", self.params[0])

    @property
    def cx(self) -> float:
        """Column of the principal point, in pixels from the left edge."""
        return self.named["cx"]

    @property
    def cy(self) -> float:
        """Row of the principal point, in pixels from the top edge."""
        return self.named["cy"]

    @property
    def distortion(self) -> tuple[float, float, float, float]:
        """Radial k1, k2 and tangential p1, p2; all zero for a pinhole."""
        named = self.named
        return named.get("k1", 0.0), named.get("k2", 0.0), named.get("p1", 0.0), named.get("p2", 0.0)

    def scaled(self, downscale: float) -> "Camera":
        """The same lens over a picture resized by `downscale` (0.25: a quarter of the width and height).

        The new size is rounded to whole pixels and the intrinsics follow the ratio that really results.
        Where that ratio differs between the axes, a model with one focal length becomes one with two.
        """
        width, height = max(1, round(self.width * downscale)), max(1, round(self.height * downscale))
        sx, sy = width / self.width, height / self.height
        k1, k2, p1, p2 = self.distortion
        model = self.model
        if sx != sy and "f" in self.named:
            model = "PINHOLE" if model == "SIMPLE_PINHOLE" else "OPENCV"
        fx, fy, cx, cy = self.fx * sx, self.fy * sy, self.cx * sx, self.cy * sy
        values = {"f": fx, "fx": fx, "fy": fy, "cx": cx, "cy": cy, "k1": k1, "k2": k2, "p1": p1, "p2": p2}
        return Camera(model, width, height, tuple(values[name] for name in PARAMETER_NAMES[model]))


def pixel_directions(camera: Camera, xy: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 3"]:
    """Unit viewing directions, in camera axes, of pixel positions (pixels, centres at +0.5)."""
    distorted = (xy - xy.new_tensor((camera.cx, camera.cy))) / xy.new_tensor((camera.fx, camera.fy))
    x, y = _undistort(camera, distorted).unbind(-1)
    directions = torch.stack((x, -y, -torch.ones_like(x)), dim=-1)
    return directions / directions.norm(dim=-1, keepdim=True)


def project(
    camera: Camera, points_cam: Float[Tensor, "*n 3"]
) -> tuple[Float[Tensor, "*n 2"], Bool[Tensor, "*n"]]:
    """Pixel positions of points in camera axes, and which points lie in front of the camera.

    Positions of points that are not in front are finite but meaningless.
    """
    x, y, z = points_cam.unbind(-1)
    in_front = z < 0
    depth = torch.where(in_front, -z, torch.ones_like(z))
    ideal = torch.stack((x / depth, -y / depth), dim=-1)
    if any(camera.distortion):
        ideal = _distort(camera, ideal)[0]
    xy = ideal * ideal.new_tensor((camera.fx, camera.fy)) + ideal.new_tensor((camera.cx, camera.cy))
    return xy, in_front


def _distort(
    camera: Camera, ideal: Float[Tensor, "*n 2"]
) -> tuple[Float[Tensor, "*n 2"], tuple[Tensor, Tensor, Tensor]]:
    """Where the lens puts ideal image coordinates, and the derivative's entries xx, xy (= yx), yy."""
    k1, k2, p1, p2 = camera.distortion
    x, y = ideal.unbind(-1)
    r2 = x * x + y * y
    gain, slope = 1 + r2 * (k1 + r2 * k2), 2 * (k1 + 2 * k2 * r2)
    moved_x = x * gain + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    moved_y = y * gain + 2 * p2 * x * y + p1 * (r2 + 2 * y * y)
    d_xx = gain + x * x * slope + 2 * p1 * y + 6 * p2 * x
    d_xy = x * y * slope + 2 * p1 * x + 2 * p2 * y
    d_yy = gain + y * y * slope + 2 * p2 * x + 6 * p1 * y
    return torch.stack((moved_x, moved_y), dim=-1), (d_xx, d_xy, d_yy)


def _undistort(camera: Camera, distorted: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 2"]:
    """The ideal image coordinates that the lens moves to `distorted`, by Newton's method."""
    if not any(camera.distortion):
        return distorted
    ideal = distorted
    for _ in range(_NEWTON_STEPS):
        moved, (d_xx, d_xy, d_yy) = _distort(camera, ideal)
        rx, ry = (moved - distorted).unbind(-1)
        determinant = d_xx * d_yy - d_xy * d_xy
        step = torch.stack((d_yy * rx - d_xy * ry, d_xx * ry - d_xy * rx), dim=-1)
        ideal = ideal - step / determinant.unsqueeze(-1)
    return ideal
