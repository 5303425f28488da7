"""What a client may ask of the render endpoint. Unknown keys and numbers that are not finite are refused."""

import difflib
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_SIDE_PX = 2048
MAX_PIXELS = 2_000_000
MAX_SAMPLES = 256

Side = Annotated[int, Field(ge=8, le=MAX_SIDE_PX)]
Focal = Annotated[float, Field(gt=0, le=1e6)]
_Row = Annotated[list[float], Field(min_length=4, max_length=4)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class GeodeticPoint(_Body):
    """A place on WGS 84; the height is above the ellipsoid."""

    latitude_deg: Annotated[float, Field(ge=-90, le=90)]
    longitude_deg: Annotated[float, Field(ge=-180, le=180)]
    height_m: Annotated[float, Field(ge=-11_500, le=50_000)]


class LookAt(_Body):
    """A camera at `eye` that looks at `target`, upright; straight down has north at the top."""

    eye: GeodeticPoint
    target: GeodeticPoint


class Intrinsics(_Body):
    """A pinhole camera: focal lengths and centre in pixels of the wanted picture."""

    fx: Focal
    fy: Focal
    cx: float
    cy: float


class RenderRequest(_Body):
    """One picture. Give the pose as `c2w` or `look_at`, the lens as `intrinsics` or `fov_y_deg`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "checkpoint": "demo-train",
                    "look_at": {
                        "eye": {"latitude_deg": 50.0, "longitude_deg": 7.0, "height_m": 180.0},
                        "target": {"latitude_deg": 50.001, "longitude_deg": 7.0, "height_m": 100.0},
                    },
                    "fov_y_deg": 50.0,
                    "width": 512,
                    "height": 384,
                }
            ]
        }
    )

    checkpoint: Annotated[str, Field(min_length=1, max_length=1024)]
    """A job's id, or the path of a job or checkpoint inside the output folder."""
    prefix: Annotated[str, Field(pattern=r"^(best|last|step[0-9]{1,18})$")] = "best"
    c2w: Annotated[list[_Row], Field(min_length=3, max_length=4)] | None = None
    """Camera to world, 3 x 4 or 4 x 4: ENU metres about the scene's reference, axes right, up, back."""
    look_at: LookAt | None = None
    intrinsics: Intrinsics | None = None
    fov_y_deg: Annotated[float, Field(ge=1, le=170)] | None = None
    """From the top to the bottom of the picture; 60 where no lens is given."""
    width: Side = 512
    height: Side = 384
    layer: Literal["rgb", "depth", "opacity"] = "rgb"
    format: Literal["png", "jpeg", "npy"] = "png"
    """`npy` holds float32 numbers (depth in metres); the others a picture to look at."""
    samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] = 32
    """Of a ray: evaluated ones by importance, at most so many in a march."""
    sampler: Literal["importance", "march"] | None = None
    """How rays are sampled; as the checkpoint was trained where not given."""
    flight: Annotated[str, Field(max_length=256)] | None = None
    """Whose look to show; the first flight where not given."""
    expert: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Show only this expert."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.c2w is None) == (self.look_at is None):
            raise ValueError("give the pose either as c2w or as look_at")
        if self.intrinsics is not None and self.fov_y_deg is not None:
            raise ValueError("give the lens either as intrinsics or as fov_y_deg")
        if self.width * self.height > MAX_PIXELS:
            raise ValueError(
                f"{self.width} x {self.height} is more than {MAX_PIXELS} pixels; ask for a smaller picture"
            )
        return self


def problem_text(errors: Sequence[Any]) -> str:
    """pydantic's `errors` as one line: where, what is wrong, and the nearest known name of an unknown key."""
    return "; ".join(_one_problem(error) for error in errors[:5])


def _one_problem(error: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"] if part != "body") or "the body"
    if error["type"] == "extra_forbidden":
        name = str(error["loc"][-1])
        near = difflib.get_close_matches(name, _names_at(error["loc"]), 1)
        hint = f", did you mean {near[0]}?" if near else f"; known are {', '.join(_names_at(error['loc']))}"
        return f"{place[:100]} is not known here{hint}"
    return f"{place[:100]}: {error['msg']}"


def _names_at(loc: Sequence[Any]) -> list[str]:
    owners: dict[str, type[BaseModel]] = {
        "look_at": LookAt,
        "eye": GeodeticPoint,
        "target": GeodeticPoint,
        "intrinsics": Intrinsics,
    }
    owner = next((owners[part] for part in reversed(loc[:-1]) if part in owners), RenderRequest)
    return list(owner.model_fields)
