"""What can be rendered, as clients read it."""

from pydantic import BaseModel

from serve_apps.source import JobCheckpoints


class Reference(BaseModel):
    """WGS 84; the height is above the ellipsoid."""

    latitude_deg: float
    longitude_deg: float
    height_m: float


class SceneEntry(BaseModel):
    """A job with checkpoints. Boxes and centroids are ENU metres about `reference`."""

    checkpoint: str
    steps: list[int]
    scene: str | None = None
    reference: Reference | None = None
    crs: str | None = None
    box: list[list[float]] | None = None
    flights: list[str] = []
    experts: int = 0
    expert_boxes: list[list[list[float]]] = []
    metrics: dict[str, float] = {}
    problem: str | None = None


class CheckpointEntry(BaseModel):
    """A complete checkpoint: what `checkpoint` and `prefix` of a request name."""

    checkpoint: str
    prefix: str
    step: int
    newest: bool


def scene_entry(job: JobCheckpoints) -> SceneEntry:
    """A job as `GET /scenes` lists it."""
    newest = job.newest
    if isinstance(newest, str):
        return SceneEntry(checkpoint=job.job, steps=list(job.steps), problem=newest)
    latitude_deg, longitude_deg, height_m = newest.scene.reference
    return SceneEntry(
        checkpoint=job.job,
        steps=list(job.steps),
        scene=newest.scene.name,
        reference=Reference(latitude_deg=latitude_deg, longitude_deg=longitude_deg, height_m=height_m),
        crs=newest.scene.crs,
        box=_corners(newest.scene.aabb),
        flights=list(newest.flights),
        experts=len(newest.shards),
        expert_boxes=[_corners(box) for box in newest.partition.boxes],
        metrics=newest.metrics,
    )


def checkpoint_entries(job: JobCheckpoints) -> list[CheckpointEntry]:
    """A job's checkpoints, the newest first."""
    return [
        CheckpointEntry(checkpoint=job.job, prefix=f"step{step}", step=step, newest=step == job.steps[-1])
        for step in reversed(job.steps)
    ]


def _corners(box: tuple[tuple[float, float, float], tuple[float, float, float]]) -> list[list[float]]:
    return [list(corner) for corner in box]
