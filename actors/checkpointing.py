"""A coordinator's checkpoints: every expert writes its shard, then the manifest makes them one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch

from actors import metrics
from actors.expert_pool import ExpertPool
from actors.patience import PatientDiary
from anerf.checkpoint.manifest import (
    Manifest,
    PartitionStamp,
    SceneStamp,
    ShardRecord,
    read_manifest,
    write_manifest,
)
from anerf.checkpoint.resolve import complete_steps, mark_best, prune, shared_file, step_folder, withdraw
from anerf.checkpoint.shards import write_shard
from anerf.checkpoint.storage import remove_torn
from anerf.errors import StorageUnavailable
from anerf.field.layout import FieldLayout
from anerf.field.spec import FieldSpec
from anerf.jobs.events import utc_now
from anerf.jobs.spec import Job
from anerf.partition.regions import Partition
from anerf.scene.scene import Scene


def stamp(
    job: Job,
    scene: Scene,
    partition: Partition,
    spec: FieldSpec,
    layout: FieldLayout,
    flights: tuple[str, ...],
) -> Manifest:
    """A manifest of no step yet and no shards: what all checkpoints of the job have in common."""
    return Manifest(
        step=0,
        job_id=job.job_id,
        created_at=utc_now(),
        scene=SceneStamp.of(scene),
        partition=PartitionStamp.of(partition),
        field=spec.to_json(),
        grid_resolutions=tuple(level.resolution for level in layout.grid.levels),
        grid_scales=tuple(level.scale for level in layout.grid.levels),
        shards={},
        shared=None,
        flights=flights,
        seed=job.seed,
        metrics={},
        job=job.given(),
    )


@dataclass
class Checkpoints:
    """Writes a job's checkpoints under `root` and remembers which one was best."""

    root: str
    diary: PatientDiary
    keep: int
    best_psnr_db: float = -math.inf

    @classmethod
    def reopened(cls, root: str, diary: PatientDiary, keep: int) -> Self:
        """Those of a job that goes on: what was best so far must be beaten, what is torn goes."""
        remove_torn(root)
        manifests = [read_manifest(step_folder(root, step)) for step in complete_steps(root)]
        best = max((m.metrics.get("psnr_db", -math.inf) for m in manifests), default=-math.inf)
        return cls(root, diary, keep, best)

    def commit(
        self,
        manifest: Manifest,
        shards: dict[int, ShardRecord],
        shared: Mapping[str, np.ndarray],
    ) -> str:
        """Write the shared shard, then the manifest; the checkpoint exists when this returns its folder.

        `shards` already lie in `step_folder(root, manifest.step)`.
        """
        uri = step_folder(self.root, manifest.step)
        record = None
        if shared:
            tensors = {name: torch.from_numpy(np.array(array)) for name, array in sorted(shared.items())}
            meta = {"step": str(manifest.step)}
            record = self.diary.insist(lambda: write_shard(shared_file(uri), tensors, meta))
        in_order = dict(sorted(shards.items()))
        whole = replace(manifest, created_at=utc_now(), shards=in_order, shared=record)
        self.diary.insist(lambda: write_manifest(uri, whole))
        self.diary.append("checkpoint", step=manifest.step, uri=uri)
        return uri

    def shards(self, step: int, pool: ExpertPool) -> dict[int, ShardRecord]:
        """The shards of a checkpoint at `step`, written by the pool's experts; they wait for storage."""
        saved: dict[int, ShardRecord] = {}

        def save_the_others() -> None:
            answers = pool.save(step_folder(self.root, step), besides=saved)
            saved.update({e: answer for e, answer in answers.items() if isinstance(answer, ShardRecord)})
            for answer in answers.values():
                if isinstance(answer, StorageUnavailable):
                    raise answer

        self.diary.insist(save_the_others)
        return saved

    def save(self, manifest: Manifest, pool: ExpertPool) -> str:
        """A checkpoint of all experts of the pool, at its step."""
        with metrics.timed(metrics.CHECKPOINT):
            saved = self.commit(manifest, self.shards(manifest.step, pool), pool.shared())
        pool.saved()
        return saved

    def withdraw(self, step: int) -> None:
        """The checkpoint of this step, if there is one, is none any more: another is about to be written."""
        self.diary.insist(lambda: withdraw(step_folder(self.root, step)))

    def has(self, step: int) -> bool:
        """Whether there is a complete checkpoint of this step."""
        return self.diary.insist(lambda: step in complete_steps(self.root))

    def rate(self, step: int, psnr_db: float | None) -> None:
        """Point `best` at this checkpoint if none was better, and delete those no longer needed.

        One that was not measured is the best only until one was.
        """
        score = -math.inf if psnr_db is None else psnr_db
        if score >= self.best_psnr_db:
            self.best_psnr_db = score
            self.diary.insist(lambda: mark_best(self.root, step))
        self.diary.insist(lambda: prune(self.root, self.keep))
