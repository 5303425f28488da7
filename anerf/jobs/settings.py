"""From a job's fields to the settings of the learning room."""

from dataclasses import replace

import torch

from anerf.checkpoint.load import learning_box
from anerf.checkpoint.manifest import Manifest
from anerf.errors import JobError, PartitionError
from anerf.field.backend import choose_backend
from anerf.field.spec import FieldSpec
from anerf.geometry.boxes import Aabb
from anerf.jobs.spec import EvalJob, TrainJob
from anerf.learn.algorithms import OuterSettings
from anerf.learn.fast_weights import InnerRule
from anerf.learn.objective import Learner
from anerf.learn.optimiser import FisherDamping, Rates
from anerf.learn.poses import PosePrior
from anerf.learn.scene_poses import PoseRequest
from anerf.partition.regions import Partition, load_partition
from anerf.render.expert import FieldSetting
from anerf.render.samples import March, Sampling
from anerf.scene.scene import Scene

WARMUP_STEPS = 20
EXPLORE_EVERY = 16  # of the steps that a march passes over while it learns


def field_spec(job: TrainJob) -> FieldSpec:
    """The architecture that a training job asks for."""
    if job.fim_per_sample:
        raise JobError(
            "fim_per_sample is true, but the Fisher estimate is taken over batches here:"
            " set it to false or leave it out"
        )
    background = "head"
    if job.no_bg_nerf:
        named = {"white": "1,1,1", "black": "0,0,0", "random": "random"}
        color = job.bg_color_default
        background = named[color] if isinstance(color, str) else ",".join(str(level) for level in color)
    return FieldSpec(
        n_levels=job.n_levels,
        features_per_level=job.features_per_level,
        log2_hashmap_size=job.log2_hashmap_size,
        base_resolution=job.base_resolution,
        max_resolution=job.max_resolution,
        sigma_depth=job.sigma_depth,
        color_depth=job.color_depth,
        sigma_width=job.dim_hidden,
        color_width=job.color_hidden,
        dir_encoding=job.dir_encoding,
        density_cap_per_m=float(job.density_cap_per_m),
        color_space=job.color_space,
        background=background,
        background_width=job.bg_hidden,
        sample_floor=float(job.sample_floor),
    ).sampled(job.sampler, job.march_step_m)


def backend_name(job: TrainJob | EvalJob) -> str:
    """The backend to learn with: maml needs the one that is differentiable twice."""
    if job.backend == "auto" and isinstance(job, TrainJob) and job.algo == "maml":
        return "torch"
    return job.backend


def new_setting(job: TrainJob, spec: FieldSpec, scale_m: float, device: torch.device) -> FieldSetting:
    """Backend, layout and density scale of a fresh field."""
    backend = choose_backend(backend_name(job), device)
    return FieldSetting(backend, spec.layout(), spec.density_scale(scale_m))


def learner(job: TrainJob | EvalJob, spec: FieldSpec, setting: FieldSetting, scale_m: float) -> Learner:
    """How rays are sampled and parameters stepped."""
    spec = spec.sampled(job.sampler, job.march_step_m)
    t_min = (job.near or 0.0) / scale_m
    t_max = float("inf") if job.far is None else job.far / scale_m
    if spec.sampler == "march":
        march = March.of_picture(job.ray_samples, spec.march_step_m, scale_m)
        sampling = replace(march, t_min=t_min, t_max=t_max, explore_every=EXPLORE_EVERY)
    else:
        sampling = Sampling(job.ray_samples, job.sample_floor, t_min, t_max)
    return Learner(spec, setting, sampling, job.optimizer)


def resampled(manifest: Manifest, job: EvalJob) -> Manifest:
    """The manifest with the sampler that the job asks for, where it asks for one."""
    spec = FieldSpec.from_json(manifest.field, f"checkpoint of step {manifest.step}")
    return replace(manifest, field=spec.sampled(job.sampler, job.march_step_m).to_json())


def outer_settings(job: TrainJob) -> OuterSettings:
    """Algorithm and ray counts of an outer step."""
    return OuterSettings(
        algo=job.algo,
        rays_per_step=job.rays_per_step,
        batch_size=job.batch_size,
        support_rays=job.support_rays,
        query_rays=job.query_rays,
        inner_iter=job.inner_iter,
        inner=InnerRule(
            job.fast_weights, job.inner_optimizer, job.inner_encoding_lr or job.inner_lr, job.inner_lr
        ),
        task_shift=job.task_shift,
        anchor_rays=job.anchor_rays,
    )


def train_rates(job: TrainJob) -> Rates:
    """Learning rates with their decay over the job."""
    return Rates(
        grid=job.encoding_lr,
        sigma=job.sigma_lr,
        color=job.color_lr,
        background=job.bg_lr,
        inner=job.inner_rate_lr,
        decay_factor=1.0 if job.no_scheduler else job.decay_factor,
        outer_steps=job.outer_steps,
        hold=job.lr_hold,
        warmup_steps=WARMUP_STEPS,
    )


def adapt_rates(job: EvalJob, steps: int) -> Rates:
    """Learning rates of an adaptation that ends after so many steps."""
    return Rates(
        job.encoding_lr,
        job.sigma_lr,
        job.color_lr,
        job.bg_lr,
        decay_factor=job.decay_factor,
        outer_steps=max(steps, 1),
        warmup_steps=4,
        hold=job.lr_hold,
    )


def pose_request(job: EvalJob) -> PoseRequest:
    """How the poses of new photographs are refined."""
    return PoseRequest(PosePrior(job.pose_sigma_m, job.pose_sigma_deg), job.ray_samples, job.seed)


def fisher_damping(job: TrainJob) -> FisherDamping | None:
    """The Fisher-weighted loss, where the job wants it."""
    return FisherDamping(job.fim_lambda, job.fim_beta, job.fim_epsilon) if job.fim else None


def job_partition(scene: Scene, job: TrainJob, any_size: bool = False) -> Partition:
    """The partition that a training job names, checked against its number of experts unless `any_size`."""
    if job.mask_dirname is None:
        names = sorted(
            p.name for p in (scene.root / "partitions").glob("*") if (p / "partition.json").is_file()
        )
        if len(names) != 1:
            raise PartitionError(
                f"the job names no partition (mask_dirname) and scene {scene.name!r} has {len(names)}"
                f" ({', '.join(names)}): make one with `anerf partition`, and name it where there are several"
            )
        name = names[0]
    else:
        name = job.mask_dirname
    partition = load_partition(scene, name)
    if not any_size and len(partition.boxes) != job.num_submodules:
        raise PartitionError(
            f"the job asks for num_submodules {job.num_submodules} but partition {name!r} has"
            f" {len(partition.boxes)} experts: change one of them"
        )
    return partition


def checkpoint_partition(scene: Scene, manifest: Manifest) -> Partition:
    """The scene's partition that a checkpoint was trained with, which must not have changed since."""
    partition = load_partition(scene, manifest.partition.name)
    stored = [tuple(c) for c in manifest.partition.centroids]
    if [tuple(float(v) for v in row) for row in partition.centroids] != stored:
        raise PartitionError(
            f"partition {partition.name!r} of scene {scene.name!r} was made anew after the checkpoint was"
            " trained: give the new one another name, and restore this one"
        )
    return partition


def partition_box(scene: Scene, partition: Partition, expert: int) -> Aabb:
    """An expert's box in the learning frame."""
    box = partition.boxes[expert]
    return learning_box((box.lo, box.hi), scene.origin, scene.scale)
