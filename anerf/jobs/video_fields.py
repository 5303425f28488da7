"""Fields of video jobs: which way the camera goes, and what the film shows."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from anerf.jobs import values
from anerf.jobs.field_groups import Int, Line, Location, Name

CANNED_SECONDS = 12.0
"""Of a canned path where a job does not say how long it takes."""


class VideoFields(BaseModel):
    """What a film shows, from where, and how it is written."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    camera_path: Annotated[Line, BeforeValidator(values.camera_path)] = "full_coverage"
    """One of five over every scene, or the JSON file of a saved one."""
    seconds: Annotated[float, Field(gt=0, le=3600)] | None = None
    """How long the film is; None: as long as a saved path, 12 s for the others."""
    fps: Annotated[Int, Field(ge=1, le=120)] = 24
    width: Annotated[Int, Field(ge=16, le=3840)] = 640
    """Of a picture, in pixels; two of them stand side by side in some layers."""
    height: Annotated[Int, Field(ge=16, le=2160)] = 360
    fov_y_deg: Annotated[float, Field(ge=1, le=170)] = 50.0
    """From top to bottom, for paths that are not saved ones."""
    layer: Literal["rgb", "depth", "rgb_depth", "before_after"] = "rgb"
    before_checkpoint_path: Location | None = None
    """What stands on the left of before_after."""
    before_prefix: Annotated[str, BeforeValidator(values.checkpoint_prefix)] = "best"
    flight: Name | None = None
    """Whose look to show; None: the first flight's."""
    crf: Annotated[Int, Field(ge=0, le=51)] = 18
    """H.264's constant rate factor: lower is better and larger."""

    @property
    def is_saved_path(self) -> bool:
        """Whether `camera_path` is a file."""
        return self.camera_path not in values.CANNED_PATHS

    @model_validator(mode="after")
    def _filmable(self) -> Self:
        for side, size_px in (("width", self.width), ("height", self.height)):
            if size_px % 2:
                raise ValueError(f"`{side}` is {size_px}, give an even number: the format halves it")
        if self.layer == "before_after" and self.before_checkpoint_path is None:
            raise ValueError(
                "`layer` is before_after and `before_checkpoint_path` is missing, give the checkpoint to"
                " compare with"
            )
        return self
