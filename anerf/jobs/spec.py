"""What a job may say: the settings of a training, an adaptation, a viewer or a video.

The names are those of the older system's job files, so that these run unchanged. Types are strict: a
number in quotes is a mistake, and the message that says so is the one sentence a user gets to read.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from anerf.errors import JobError
from anerf.jobs import values
from anerf.jobs.field_groups import (
    ActorFields,
    Count,
    Int,
    Layers,
    Line,
    Location,
    Name,
    OptimizerFields,
    Rate,
    ResourceFields,
    Share,
    Width,
)
from anerf.jobs.message import MAX_PROBLEMS, problem, read_json_object, sentence, shown, unknown_key
from anerf.jobs.video_fields import VideoFields


class JobFields(BaseModel):
    """Settings that every kind of job knows."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    job_id: Name
    seed: Annotated[Int, Field(ge=0, le=2**32 - 1)] = 0
    dataset: Line = "drz"
    data_path: Line = "data/drz/"
    data_dirname: Line | None = None
    scene: Location | None = None
    """A scene folder, instead of `<data_path>/out/<data_dirname>`."""
    mask_dirname: Name | None = None
    downscale: Annotated[float, Field(gt=0, le=1)] = 0.25
    near: Annotated[float, Field(ge=0)] | None = None
    """Metres, as `far`; both are clipped to the scene box."""
    far: Annotated[float, Field(gt=0)] | None = None
    ray_samples: Annotated[Int, Field(ge=1, le=4096)] = 96
    sampler: Literal["importance", "march"] | None = None
    """How rays are sampled; None: as the checkpoint's were, by importance where there is none."""
    march_step_m: Annotated[float, Field(gt=0, le=100)] | None = None
    """Length of a march's steps; None: the checkpoint's, half a metre where there is none."""
    chunk_points: Annotated[Int, Field(ge=1024, le=2**31)] = 4_400_000
    boundary_margin: Annotated[float, Field(ge=1, le=10)] = 1.0
    color_space: Literal["linear", "srgb"] = "linear"
    use_amp: bool = False
    use_occ: bool = True
    checkpoint_path: Location | None = None
    prefix: Annotated[str, BeforeValidator(values.checkpoint_prefix)] = "best"
    use_stored_args: bool = False
    devices: Annotated[tuple[int, ...] | None, BeforeValidator(values.devices)] = None
    backend: Literal["auto", "cpu", "torch", "tcnn"] = "auto"
    """What computes the field while it learns: `auto` takes our kernels on a CPU and torch on a GPU."""
    max_attempts: Annotated[Int, Field(ge=1, le=100)] = 3
    """Runs that may end early in a row, for reasons that are not the job's, without getting anywhere."""
    priority: Annotated[Int, Field(ge=-100, le=100)] = 0
    """Who goes first; trainings of lower priority make room."""
    deadline_s: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Seconds from its acceptance after which the job is stopped and has failed."""

    _ignored: tuple[str, ...] = PrivateAttr(default=())

    @property
    def ignored(self) -> tuple[str, ...]:
        """Fields that the message gave and that this kind of job does not use."""
        return self._ignored

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.near is not None and self.far is not None and self.near >= self.far:
            raise ValueError(
                f"`near` is {self.near} and `far` is {self.far}, give a far bound beyond the near one"
            )
        return self

    def scene_path(self) -> Path:
        """The scene folder.

        Raises:
            JobError: neither `scene` nor `data_dirname` is given.
        """
        if self.scene is not None:
            return Path(self.scene)
        if self.data_dirname is None:
            raise JobError(_NO_SCENE)
        return Path(self.data_path) / "out" / self.data_dirname

    def resolved(self, base: Path) -> Self:
        """The same job with its paths made absolute from `base`; URIs with a scheme stay."""
        fields = ["checkpoint_path", "checkpoint_root", "scene", *self._own_paths()]
        if self.scene is None and self.data_dirname is not None:
            fields.append("data_path")
        given = {name: getattr(self, name, None) for name in fields}
        return self._changed(
            {name: str(base / path) for name, path in given.items() if path and "://" not in path}
        )

    def _own_paths(self) -> list[str]:
        """Fields of this kind of job that are paths."""
        return []

    def with_stored(self, stored: Mapping[str, Any]) -> Self:
        """The same job, with the settings that it does not give itself taken from a stored job."""
        own = self.model_fields_set | _NEVER_STORED
        taken = {k: v for k, v in stored.items() if k in type(self).model_fields and k not in own}
        merged = parse_job({**taken, **self.given()})
        assert isinstance(merged, type(self))
        return merged

    def given(self) -> dict[str, Any]:
        """What the message gave, as JSON: parsing it again gives the same job."""
        return self.model_dump(mode="json", exclude_unset=True)

    def _changed(self, update: dict[str, Any]) -> Self:
        changed = self.model_copy(update=update)
        changed._ignored = self._ignored
        return changed


class TrainJob(JobFields, OptimizerFields, ActorFields):
    """Learn a scene beforehand."""

    op: Literal["train"] = "train"
    batch_size: Annotated[Int, Field(ge=1, le=1024)] = 3
    rays_per_step: Count = 2048
    """Rays per expert and step of `algo` plain."""
    cell_dim: Annotated[Int, Field(ge=1, le=1000)] = 5
    num_submodules: Annotated[Int, Field(ge=1, le=100_000)] = 4
    sigma_depth: Layers = 2
    color_depth: Layers = 2
    dim_hidden: Width = 64
    color_hidden: Width = 64
    log2_hashmap_size: Annotated[Int, Field(ge=8, le=28)] = 20
    max_resolution: Annotated[Int, Field(ge=2, le=1_048_576)] = 4096
    n_levels: Annotated[Int, Field(ge=1, le=32)] = 8
    features_per_level: Annotated[Int, Field(ge=1, le=8)] = 4
    base_resolution: Annotated[Int, Field(ge=2, le=4096)] = 16
    dir_encoding: Literal["spherical", "frequency"] = "spherical"
    no_bg_nerf: bool = False
    bg_hidden: Width = 32
    bg_encoding: Literal["spherical", "frequency"] = "spherical"
    bg_color_default: Annotated[str | tuple[float, float, float], BeforeValidator(values.background)] = (
        "random"
    )
    image_exposure: bool = True
    """Learn each photograph's exposure and tint beside the scene, so that the scene does not have to."""
    no_scheduler: bool = False
    lr_hold: Share = 0.0
    """Share of the steps before learning rates start to decay."""
    decay_factor: Annotated[float, Field(ge=1, le=1e9)] = 10.0
    algo: Literal["plain", "maml", "fomaml", "reptile"] = "plain"
    outer_steps: Count = 20_000
    inner_iter: Annotated[Int, Field(ge=1, le=10_000)] = 8
    inner_lr: Rate = 0.015
    inner_encoding_lr: Rate | None = None
    """Of the table in inner loops; without it `inner_lr`."""
    inner_optimizer: Literal["sgd", "adam"] = "sgd"
    fast_weights: Literal["all", "mlp"] = "all"
    """What inner loops move: everything, or the networks alone."""
    learn_inner_rates: bool = False
    """Learn one inner rate for each group of parameters (Meta-SGD), beginning with those given."""
    inner_rate_lr: Rate = 0.02
    task_shift: Annotated[float, Field(ge=0, le=4)] = 0.0
    """How far from the survey's the looks of tasks are: season, exposure and changed patches."""
    anchor_rays: Annotated[Int, Field(ge=0, le=1_000_000_000)] = 0
    """Rays that a meta-learning step also learns as a plain one does."""
    fim: bool = False
    fim_lambda: Annotated[float, Field(ge=0)] = 0.1
    fim_beta: Annotated[float, Field(ge=0, lt=1)] = 0.95
    fim_epsilon: Annotated[float, Field(gt=0)] = 1e-6
    fim_per_sample: bool = False
    sync_step: Count = 20
    """Steps between two meetings of the experts: the shared background and progress."""
    eval_step: Count = 200
    save_step: Count = 1000
    print_step: Count = 1
    max_test_tasks: Count = 4
    keep_checkpoints: Annotated[Int, Field(ge=1, le=10_000)] = 3

    @model_validator(mode="after")
    def _complete(self) -> Self:
        _need_scene(self)
        if self.base_resolution > self.max_resolution:
            raise ValueError(
                f"`base_resolution` is {self.base_resolution}, give at most "
                f"`max_resolution`, {self.max_resolution}"
            )
        if self.algo == "maml" and self.backend in ("cpu", "tcnn"):
            raise ValueError(
                f"`backend` is '{self.backend}', which has no second derivative, and `algo` maml needs one,"
                " give torch or auto, or fomaml"
            )
        if self.algo == "maml" and self.inner_optimizer == "adam":
            raise ValueError(
                "`inner_optimizer` is 'adam', whose second derivative maml does not take, give sgd"
            )
        if self.learn_inner_rates and self.algo not in ("fomaml", "maml"):
            raise ValueError(
                f"`learn_inner_rates` needs a gradient through inner steps, which `algo` {self.algo} has not,"
                " give fomaml or maml"
            )
        return self


class EvalJob(JobFields, OptimizerFields, ActorFields):
    """Adapt to new photographs for `tto` steps and measure on views never adapted on."""

    op: Literal["eval"]
    test_batch_size: Annotated[Int, Field(ge=1, le=100_000)] = 1
    tto: Annotated[tuple[int, ...], BeforeValidator(values.steps)] = (16,)
    tto_seconds: Annotated[tuple[float, ...], BeforeValidator(values.seconds)] | None = None
    """Results after so many seconds of adapting, instead of after `tto` steps."""
    batch: Name | None = None
    """Tag of the flight to adapt to; without it the validation split."""
    replay: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of an adaptation step's rays that come from old photographs where the new ones do not look."""
    refine_poses: bool = False
    """Correct the poses of the photographs that are adapted on, in memory only, before adapting."""
    pose_sigma_m: Annotated[float, Field(gt=0, le=100)] = 0.5
    """How far given positions are off (standard deviation along each axis), for `refine_poses`."""
    pose_sigma_deg: Annotated[float, Field(gt=0, le=45)] = 0.3
    """And how far orientations are."""
    explore: Share = 0.5
    """Share of the new rays drawn evenly; the others are drawn where the old model errs."""
    early_stop: bool = False
    """Watch some of the adapted-on photographs instead, and stop when these get no better."""
    save_adapted: bool = True
    decay_factor: Annotated[float, Field(ge=1, le=1e9)] = 1.0
    """By how much learning rates fall until the last of the `tto` steps or seconds."""
    lr_hold: Share = 0.0
    """Share of the steps before they start to fall."""
    learned_rates: bool = False
    """Take the table's and the networks' rates from what the checkpoint's training learned."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.tto_seconds is not None and "tto" in self.model_fields_set:
            raise ValueError("`tto` and `tto_seconds` are both given, give one of them")
        if not self.use_stored_args:
            _need_scene(self)
        _need_checkpoint(self)
        return self


class ViewJob(JobFields):
    """Show a checkpoint in a browser."""

    op: Literal["view"]
    ray_samples: Annotated[Int, Field(ge=1, le=4096)] = 64
    test_batch_size: Annotated[Int, Field(ge=1, le=100_000)] = 1
    viewer_timeout: Annotated[float, Field(ge=-1)] = 900.0
    """Seconds; -1 for no limit."""
    host: Line = "127.0.0.1"
    port: Annotated[Int, Field(ge=0, le=65_535)] = 7070
    public_url: Annotated[Line, Field(pattern=r"^https?://[^\s]+$", max_length=2048)] | None = None
    """Where people reach the viewer, if not at `host` and `port`: behind a proxy or a tunnel."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        _need_checkpoint(self)
        return self


class VideoJob(JobFields, VideoFields, ResourceFields):
    """Film a checkpoint along a camera path."""

    op: Literal["video"]
    ray_samples: Annotated[Int, Field(ge=1, le=4096)] = 32

    def _own_paths(self) -> list[str]:
        return ["before_checkpoint_path", *(["camera_path"] if self.is_saved_path else [])]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        _need_checkpoint(self)
        return self


Job = TrainJob | EvalJob | ViewJob | VideoJob

_MODELS: dict[str, type[TrainJob] | type[EvalJob] | type[ViewJob] | type[VideoJob]] = {
    "train": TrainJob,
    "eval": EvalJob,
    "view": ViewJob,
    "video": VideoJob,
}
_ALIASES = {"max_res": "max_resolution"}
_OF_ANY_JOB = {field for model in _MODELS.values() for field in model.model_fields}
_OF_THE_RUN = {"max_attempts", "priority", "deadline_s"} | set(ActorFields.model_fields)
_NEVER_STORED = {"op", "job_id", "checkpoint_path", "prefix", "use_stored_args"} | _OF_THE_RUN
_NO_SCENE = "`scene` is missing, give the scene's folder, or `data_path` and `data_dirname`"


def parse_job(message: bytes | str | Mapping[str, Any], made_up_from: str | None = None) -> Job:
    """The job that a message describes.

    A field that only another kind of job uses is accepted and ignored, see `Job.ignored`.

    Args:
        made_up_from: when the message gives no `job_id`, it is derived from this text (the same text gives
            the same id, so that a message delivered twice is one job); without it, drawn at random.

    Raises:
        JobError: with every problem of the message in one sentence.
    """
    content = dict(message) if isinstance(message, Mapping) else read_json_object(message)
    op = content.get("op", "train")
    if not isinstance(op, str) or op not in _MODELS:
        raise JobError(sentence([f"`op` is {shown(op)}, give one of 'train', 'eval', 'view' or 'video'"]))
    model = _MODELS[op]

    problems = []
    for alias, name in _ALIASES.items():
        if alias in content:
            if name in content and content[name] != content[alias]:
                problems.append(f"`{alias}` and `{name}` are two names of one field, keep one of them")
            content[name] = content.pop(alias)
    unknown = [key for key in content if key not in _OF_ANY_JOB]
    problems += [unknown_key(key, _OF_ANY_JOB) for key in unknown[:MAX_PROBLEMS]]
    own = {key: value for key, value in content.items() if key in model.model_fields}
    if own.get("job_id") is None:
        mark = (
            hashlib.sha256(made_up_from.encode()).hexdigest()[:12] if made_up_from else secrets.token_hex(6)
        )
        own["job_id"] = f"{op}-{mark}"
    own["op"] = op
    job = None
    try:
        job = model.model_validate(own)
    except ValidationError as error:
        problems += [problem(found) for found in error.errors(include_url=False)]
    if job is None or problems:
        if "op" not in content:
            problems.append("`op` is missing and was read as train, give train, eval, view or video")
        raise JobError(sentence(problems, n_more=len(unknown[MAX_PROBLEMS:])))
    job._ignored = tuple(
        sorted(key for key in content if key in _OF_ANY_JOB and key not in model.model_fields)
    )
    return job


def fingerprint(job: Job) -> str:
    """SHA-256 (hex) of what a job asks for: every setting, defaults included, but not its id."""
    settings = job.model_dump(mode="json", exclude={"job_id"})
    return hashlib.sha256(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _need_scene(job: TrainJob | EvalJob) -> None:
    if job.scene is None and job.data_dirname is None:
        raise ValueError(_NO_SCENE)


def _need_checkpoint(job: EvalJob | ViewJob | VideoJob) -> None:
    if job.checkpoint_path is None:
        raise ValueError(
            "`checkpoint_path` is missing, give the folder of the job or checkpoint to start from"
        )
