"""Types of fields of jobs, and groups of fields that several kinds of jobs share."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from anerf.jobs import values

Int = Annotated[int, BeforeValidator(values.whole)]
Count = Annotated[Int, Field(ge=1, le=1_000_000_000)]
Width = Annotated[Int, Field(ge=1, le=4096)]
Layers = Annotated[Int, Field(ge=0, le=16)]
Rate = Annotated[float, Field(gt=0, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Line = Annotated[str, BeforeValidator(values.line), Field(min_length=1, max_length=4096)]
Location = Annotated[str, BeforeValidator(values.location), Field(min_length=1, max_length=4096)]
Name = Annotated[str, BeforeValidator(values.name)]


class OptimizerFields(BaseModel):
    """Rays and rates, for learning beforehand and for adapting."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    support_rays: Count = 4000
    query_rays: Count = 2000
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Rate = 1e-4
    encoding_lr: Rate = 1e-2
    sigma_lr: Rate = 2e-3
    color_lr: Rate = 2e-3
    bg_lr: Rate = 1e-3
    density_cap_per_m: Annotated[float, Field(gt=0, le=1e6)] = 10.0
    """Densities are held below this, so that no sample is opaque by itself."""
    sample_floor: Share = 0.3
    """Share of a ray's samples that go where the density grid sees nothing."""
    lpips: bool = True


class ResourceFields(BaseModel):
    """What a job takes of the cluster."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    cpus: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Cores that the job takes of the cluster; None: all, so that no other learns beside it."""
    gpus: Annotated[float, Field(ge=0, le=1e5)] | None = None
    """And GPUs; None: all."""
    memory_gib: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Memory that it is expected to need; None: not counted."""


class ActorFields(ResourceFields):
    """How experts are dealt out to processes, and these to machines; where they save."""

    experts_per_actor: Annotated[Int, Field(ge=1, le=10_000)] = 1
    """Experts that share a process."""
    placement: Literal["spread", "pack"] | None = None
    """Whether these processes go to many machines or to few; None: where Ray finds room."""
    checkpoint_root: Location | None = None
    """Checkpoints go to a folder of the job's name below this; None: into the job's own folder."""
