"""The settings that make a field what it is, kept in every checkpoint."""

from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, Self

from anerf.errors import CheckpointError
from anerf.field.backend import DensityScale
from anerf.field.layout import (
    BACKGROUND_SH_DEGREE,
    FieldLayout,
    MlpLayout,
    field_layout,
    grid_layout,
    grid_layout_from_scales,
    growth_between,
)


@dataclass(frozen=True)
class FieldSpec:
    """Architecture of every expert of a scene, and of the background that they share.

    `color_space` is the space that the networks speak and the loss is taken in. `background` is `head` (a
    small network over directions), `random` (noise in training, grey in pictures), or `r,g,b` in [0, 1].
    `sampler` is how rays were sampled in learning, and are in pictures unless asked otherwise: `importance`
    with `sample_floor`, or `march` in steps of `march_step_m`. What has a default here may be missing in a
    checkpoint: those from before it was a choice were made with that.
    """

    n_levels: int
    features_per_level: int
    log2_hashmap_size: int
    base_resolution: int
    max_resolution: int
    sigma_depth: int
    color_depth: int
    sigma_width: int
    color_width: int
    dir_encoding: str
    density_cap_per_m: float
    color_space: str
    background: str
    background_width: int
    sample_floor: float
    sampler: str = "importance"
    march_step_m: float = 0.5

    def sampled(self, sampler: str | None, march_step_m: float | None) -> Self:
        """The same field under another sampler; what is None stays as it is."""
        return replace(
            self,
            sampler=self.sampler if sampler is None else sampler,
            march_step_m=self.march_step_m if march_step_m is None else float(march_step_m),
        )

    def layout(self, scales: list[float] | None = None) -> FieldLayout:
        """The parameter layout; `scales` are a checkpoint's stored per-level scales."""
        if scales is None:
            growth = growth_between(self.base_resolution, self.max_resolution, self.n_levels)
            grid = grid_layout(
                self.n_levels, self.features_per_level, self.log2_hashmap_size, self.base_resolution, growth
            )
        else:
            grid = grid_layout_from_scales(scales, self.features_per_level, self.log2_hashmap_size)
        return field_layout(
            grid,
            sigma_depth=self.sigma_depth,
            sigma_width=self.sigma_width,
            color_depth=self.color_depth,
            color_width=self.color_width,
            dir_encoding=self.dir_encoding,
        )

    def background_layout(self) -> MlpLayout:
        """Layout of the background head."""
        return MlpLayout(BACKGROUND_SH_DEGREE**2, 3, 1, self.background_width)

    def density_scale(self, scale_m: float) -> DensityScale:
        """Bias and cap of the log-density in a scene of that scale."""
        return DensityScale.of(scale_m, self.density_cap_per_m)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and texts."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any], where: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            CheckpointError: if a setting is missing or unknown; `where` names the checkpoint.
        """
        known = {f.name: str(getattr(f.type, "__name__", f.type)) for f in fields(cls)}
        needed = {f.name for f in fields(cls) if f.default is MISSING}
        if missing := sorted(needed - set(values)):
            raise CheckpointError(
                f"{where}: the field settings lack {missing}; it was written by another version"
            )
        if unknown := sorted(set(values) - set(known)):
            raise CheckpointError(
                f"{where}: the field settings hold unknown {unknown}; it was written by another version"
            )
        return cls(
            **{
                name: {"int": int, "float": float, "str": str}[kind](values[name])
                for name, kind in known.items()
                if name in values
            }
        )
