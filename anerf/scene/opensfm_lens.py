"""OpenSfM's cameras in COLMAP's models and pixels.

OpenSfM divides pixels by the longer side, from the picture's centre: a pixel in column i has
`(i + 0.5 - width / 2) / max(width, height)` (`normalized_image_coordinates` in OpenSfM's
`opensfm/features.py`). With our pixel centres at i + 0.5, the principal point is `width / 2 + c_x * longer`.
(OpenSfM's own export to COLMAP writes `(width - 1) / 2` for its brown cameras, half a pixel off.)

Projections and distortions: `opensfm/src/geometry/camera_instances.h` and `camera_distortions_functions.h`.
All of them project, distort, then scale and shift, with the tangential terms in OpenCV's order, as COLMAP
does (`src/colmap/sensor/models.h`).
"""

from pydantic import BaseModel, ConfigDict

from anerf.errors import InputError


class OpensfmLens(BaseModel):
    """One entry of `cameras` in `reconstruction.json`, or of `cameras.json`; lengths in longer sides."""

    model_config = ConfigDict(extra="ignore")

    projection_type: str = "perspective"
    width: int
    height: int
    focal: float | None = None
    focal_x: float | None = None
    focal_y: float | None = None
    c_x: float = 0.0
    c_y: float = 0.0
    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0
    k5: float = 0.0
    k6: float = 0.0
    p1: float = 0.0
    p2: float = 0.0


def lens_parameters(lens: OpensfmLens, size: tuple[int, int]) -> tuple[str, tuple[float, ...]]:
    """COLMAP's model and parameters (pixels, centres at +0.5) of an OpenSfM camera at a picture size.

    Raises:
        InputError: the projection has no counterpart, or no focal length is given.
    """
    width, height = size
    longer = max(size)
    focal_x = lens.focal if lens.focal_x is None else lens.focal_x
    if focal_x is None:
        raise InputError("it has neither focal nor focal_x; export the project again")
    focal_y = focal_x if lens.focal_y is None else lens.focal_y
    f, fy = focal_x * longer, focal_y * longer
    cx, cy = width / 2 + lens.c_x * longer, height / 2 + lens.c_y * longer
    k1, k2, k3, k4, p1, p2 = lens.k1, lens.k2, lens.k3, lens.k4, lens.p1, lens.p2
    match lens.projection_type:
        case "perspective":
            # 1 + k1 r^2 + k2 r^4, one focal length, centred.
            return "RADIAL", (f, width / 2, height / 2, k1, k2)
        case "simple_radial" if f == fy:
            return "SIMPLE_RADIAL", (f, cx, cy, k1)
        case "simple_radial":
            return "OPENCV", (f, fy, cx, cy, k1, 0.0, 0.0, 0.0)
        case "radial" if f == fy:
            return "RADIAL", (f, cx, cy, k1, k2)
        case "radial":
            return "OPENCV", (f, fy, cx, cy, k1, k2, 0.0, 0.0)
        case "brown" if k3 == 0:
            return "OPENCV", (f, fy, cx, cy, k1, k2, p1, p2)
        case "brown":
            return "FULL_OPENCV", (f, fy, cx, cy, k1, k2, p1, p2, k3, 0.0, 0.0, 0.0)
        case "fisheye":
            # theta (1 + k1 theta^2 + k2 theta^4), one focal length, centred.
            return "RADIAL_FISHEYE", (f, width / 2, height / 2, k1, k2)
        case "fisheye_opencv":
            return "OPENCV_FISHEYE", (f, fy, cx, cy, k1, k2, k3, k4)
        case "fisheye62" if lens.k5 == 0 and lens.k6 == 0:
            return "THIN_PRISM_FISHEYE", (f, fy, cx, cy, k1, k2, p1, p2, k3, k4, 0.0, 0.0)
        case other:
            raise InputError(
                f"a lens of the kind {other} cannot be used; reconstruct with ODM's --camera-lens "
                "perspective, brown, fisheye or fisheye_opencv"
            )
