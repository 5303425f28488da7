"""What a client may ask of the render endpoint. Unknown keys and numbers that are not finite are refused."""

import difflib
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from anerf.geometry.geodesy import FARTHEST_M

MAX_SIDE_PX = 2048
MAX_PIXELS = 2_000_000
MAX_SAMPLES = 256
MAX_PICKS = 1024
DEADLINE_S = 30.0
MAX_DEADLINE_S = 120.0

Layer = Literal["rgb", "depth", "opacity", "expert", "normals"]
FileFormat = Literal["png", "jpeg", "webp", "npy", "png16"]
Quality = Literal["draft", "normal", "fine"]
Sampler = Literal["importance", "march"]
CheckpointName = Annotated[str, Field(min_length=1, max_length=1024)]
"""A job's id, or the path of a job or checkpoint inside the output folder."""
Prefix = Annotated[str, Field(pattern=r"^(best|last|step[0-9]{1,18})$")]
Deadline = Annotated[float, Field(ge=0.01, le=MAX_DEADLINE_S)]
Center = Annotated[float, Field(ge=-1e6, le=1e6)]
Side = Annotated[int, Field(ge=8, le=MAX_SIDE_PX)]
Focal = Annotated[float, Field(gt=0, le=1e6)]
_Row = Annotated[list[float], Field(min_length=4, max_length=4)]


_LOOK_AT = {
    "checkpoint": "demo-train",
    "look_at": {
        "eye": {"latitude_deg": 50.0, "longitude_deg": 7.0, "height_m": 180.0},
        "target": {"latitude_deg": 50.001, "longitude_deg": 7.0, "height_m": 100.0},
    },
    "fov_y_deg": 50.0,
    "width": 512,
    "height": 384,
}
_MATRIX = {
    "checkpoint": "demo-train",
    "c2w": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 120]],
    "intrinsics": {"fx": 400, "fy": 400, "cx": 256, "cy": 192},
    "layer": "depth",
    "format": "png16",
    "quality": "draft",
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class GeodeticPoint(_Body):
    """A place on WGS 84; the height is above the ellipsoid."""

    latitude_deg: Annotated[float, Field(ge=-90, le=90)]
    longitude_deg: Annotated[float, Field(ge=-180, le=180)]
    height_m: Annotated[float, Field(ge=-11_500, le=50_000)]


class LookAt(_Body):
    """A camera at `eye` that looks at `target`, upright.

    A view straight down has north at the top, or what lies in the direction `heading_deg` (90 is east).
    """

    eye: GeodeticPoint
    target: GeodeticPoint
    heading_deg: Annotated[float, Field(ge=-360, le=360)] | None = None
    """For views straight down only."""


class Intrinsics(_Body):
    """A pinhole camera: focal lengths and centre in pixels of the wanted picture."""

    fx: Focal
    fy: Focal
    cx: Center
    cy: Center


class View(_Body):
    """What is looked at, from where.

    Give the pose as `c2w` or `look_at`, the lens as `intrinsics` or `fov_y_deg`.
    """

    checkpoint: CheckpointName | None = None
    prefix: Prefix = "best"
    job: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] | None = None
    """A training or adaptation that runs now, in place of a checkpoint: its newest weights are shown."""
    c2w: Annotated[list[_Row], Field(min_length=3, max_length=4)] | None = None
    """Camera to world, 3 x 4 or 4 x 4: ENU metres about the scene's reference, axes right, up, back."""
    look_at: LookAt | None = None
    intrinsics: Intrinsics | None = None
    fov_y_deg: Annotated[float, Field(ge=1, le=170)] | None = None
    """From the top to the bottom of the picture; 60 where no lens is given."""
    width: Side = 512
    height: Side = 384
    quality: Quality = "normal"
    """How many samples a ray gets: by importance 8, 16 or 48, in a march at most 128, 256 or 512."""
    samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] | None = None
    """In place of `quality`. Of a ray: evaluated ones by importance, at most so many in a march."""
    sampler: Sampler | None = None
    """How rays are sampled; as the checkpoint was trained where not given."""
    near_m: Annotated[float, Field(ge=0, le=FARTHEST_M)] = 0.0
    """Along the ray; nothing nearer is seen."""
    far_m: Annotated[float, Field(gt=0, le=FARTHEST_M)] = 5000.0
    """Along the ray; nothing farther is seen, and experts that lie farther are not loaded."""
    flight: Annotated[str, Field(max_length=256)] | None = None
    """Whose look to show; the first flight where not given."""
    expert: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Show only this expert."""
    deadline_s: Deadline = DEADLINE_S
    """Seconds after which the answer is of no use any more; waiting for others counts."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.checkpoint is None) == (self.job is None):
            raise ValueError("name what to show, either as checkpoint or as job (one that runs)")
        if (self.c2w is None) == (self.look_at is None):
            raise ValueError("give the pose either as c2w or as look_at")
        if self.intrinsics is not None and self.fov_y_deg is not None:
            raise ValueError("give the lens either as intrinsics or as fov_y_deg")
        if self.width * self.height > MAX_PIXELS:
            raise ValueError(
                f"{self.width} x {self.height} is more than {MAX_PIXELS} pixels; ask for a smaller picture"
            )
        if self.near_m >= self.far_m:
            raise ValueError(f"near_m is {self.near_m:g} and far_m {self.far_m:g}; near_m must be less")
        return self


class RenderRequest(View):
    """One picture."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LOOK_AT, _MATRIX]})

    layer: Layer = "rgb"
    """`depth` in metres along the ray, `expert` the number of the expert that gave most, `normals` in ENU."""
    format: FileFormat = "png"
    """`npy` holds the layer's numbers (float32; int16 of `expert`), `png16` depth in 16 bits, of the unit
    that the header `X-Anerf-Depth-Unit-M` tells; the others are pictures to look at."""

    @model_validator(mode="after")
    def _encodable(self) -> Self:
        if self.format == "png16" and self.layer != "depth":
            raise ValueError(f"format png16 is for the layer depth, not {self.layer}; take png or npy")
        return self


Pixel = Annotated[list[Annotated[float, Field(ge=0, le=MAX_SIDE_PX)]], Field(min_length=2, max_length=2)]


class PickRequest(View):
    """Pixels of a view whose places on Earth are wanted."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_LOOK_AT, "pixels": [[256.5, 192.5], [100.5, 300.5]]}]}
    )

    pixels: Annotated[list[Pixel], Field(min_length=1, max_length=MAX_PICKS)]
    """Columns and rows from the picture's top left corner; the first pixel's centre is 0.5, 0.5."""

    @model_validator(mode="after")
    def _inside(self) -> Self:
        for x, y in self.pixels:
            if x > self.width or y > self.height:
                raise ValueError(f"pixel {x:g}, {y:g} is outside the {self.width} x {self.height} picture")
        return self


def _number(text: object) -> object:
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) == 1 else text


class RaysQuery(_Body):
    """How the rays of a body are rendered; see `View` for fields of the same names."""

    model_config = ConfigDict(strict=False)

    checkpoint: CheckpointName
    prefix: Prefix = "best"
    columns: Annotated[Literal[6, 8], BeforeValidator(_number)] = 6
    """6: origin and direction. 8: these, `near_m` and `far_m`."""
    quality: Quality = "normal"
    samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] | None = None
    sampler: Sampler | None = None
    flight: Annotated[str, Field(max_length=256)] | None = None
    expert: Annotated[int, Field(ge=0, le=100_000)] | None = None
    deadline_s: Deadline = MAX_DEADLINE_S


def problem_text(errors: Sequence[Any], body: type[BaseModel] = RenderRequest) -> str:
    """pydantic's `errors` as one line: where, what is wrong, and the nearest known name of an unknown key."""
    return "; ".join(_one_problem(error, body) for error in errors[:5])


def _one_problem(error: dict[str, Any], body: type[BaseModel]) -> str:
    place = ".".join(str(part) for part in error["loc"] if part not in ("body", "query")) or "the body"
    if error["type"] == "extra_forbidden":
        name = str(error["loc"][-1])
        known = _names_at(error["loc"], body)
        near = difflib.get_close_matches(name, known, 1)
        hint = f", did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
        return f"{place[:100]} is not known here{hint}"
    return f"{place[:100]}: {error['msg']}"


def _names_at(loc: Sequence[Any], body: type[BaseModel]) -> list[str]:
    owners: dict[str, type[BaseModel]] = {
        "look_at": LookAt,
        "eye": GeodeticPoint,
        "target": GeodeticPoint,
        "intrinsics": Intrinsics,
    }
    owner = next((owners[part] for part in reversed(loc[:-1]) if part in owners), body)
    return list(owner.model_fields)
