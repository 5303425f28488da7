"""A running job's scene, to be rendered while it learns; for renderers and viewers in other processes."""

import logging
import threading
import time
from dataclasses import dataclass

import ray
import torch
from ray.exceptions import GetTimeoutError, ObjectLostError, RayTaskError

from actors.evaluation import snapshot_model
from actors.offers import Offer
from actors.running import JobNotRunning, RunningJob
from anerf.checkpoint.load import field_setting, load_expert_model, scene_model
from anerf.checkpoint.manifest import Manifest
from anerf.render.expert import ExpertModel, FieldSetting
from anerf.render.scene_model import SceneModel

log = logging.getLogger(__name__)

ASK_EVERY_S = 0.1
FETCH_TIMEOUT_S = 30.0
IDLE_S = 10.0


@dataclass(frozen=True)
class LiveModel:
    """A job's scene at one step: every expert in it stands at that step. `mark` names it; no other has it.

    `step` is as in the job's `progress` events: of an adaptation, its own steps. `manifest` is that of a
    checkpoint of this moment, without shards.
    """

    mark: str
    step: int
    model: SceneModel
    manifest: Manifest


class LiveScene:
    """The newest scene of a running training or adaptation; one a process is enough. Safe for threads.

    While somebody asks, the job offers its weights after every round, so about once a second; when nobody has
    asked for some seconds it stops, and pays nothing. The weights are shared with the object store (to a GPU
    they are copied), which keeps them as long as a `LiveModel` is held: hold one only while pictures are made
    from it. This one lets go of the last when nobody has asked for `IDLE_S`.
    """

    def __init__(self, job_id: str, device: str = "cpu") -> None:
        """Of the job of this id; finds it when first asked."""
        self.job_id = job_id
        self._job = RunningJob(job_id)
        self._device = torch.device(device)
        self._lock = threading.Lock()
        self._asked_at = -ASK_EVERY_S
        self._held: LiveModel | None = None
        self._idle: threading.Timer | None = None
        self._unchanged: tuple[str, dict[int, ExpertModel]] = ("", {})

    def newest(self, known: str | None = None, wait_s: float = 0.0) -> LiveModel | None:
        """The newest scene, unless it is the one whose mark is `known`.

        Asking often costs nothing: within a tenth of a second the job is asked once. The first look at a job
        needs a `wait_s` of a round or two, since nothing is offered before somebody asks; while a job loads
        or measures there is nothing new.

        Returns:
            None where there is nothing new within `wait_s`.

        Raises:
            JobNotRunning: it has ended, or not begun; its checkpoint may be there. JobWithoutExperts: it is
                of another kind. NoAnswer: try again. CheckpointError: what it adapts cannot be read.
        """
        deadline = time.monotonic() + wait_s
        while True:
            with self._lock:
                self._refresh()
                held = self._held
            if held is not None and held.mark != known:
                return held
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return None
            time.sleep(min(left_s, ASK_EVERY_S))

    def _release_if_idle(self) -> None:
        with self._lock:
            left_s = self._asked_at + IDLE_S - time.monotonic()
            if left_s > 0:
                self._release_after(left_s)
            else:
                self._idle, self._held, self._unchanged = None, None, ("", {})

    def _release_after(self, seconds: float) -> None:
        self._idle = threading.Timer(seconds, self._release_if_idle)
        self._idle.daemon = True
        self._idle.start()

    def _refresh(self) -> None:
        if time.monotonic() - self._asked_at < ASK_EVERY_S:
            return
        try:
            answer = self._job.offer(None if self._held is None else self._held.mark)
        except JobNotRunning:
            self._held = None
            raise
        self._asked_at = time.monotonic()
        if answer.newest is None:
            self._held = None  # nobody has looked for a while: it may be old
        if answer.offer is not None:
            try:
                self._held = self._fetched(answer.offer)
                if self._idle is None:
                    self._release_after(IDLE_S)
            except (ObjectLostError, GetTimeoutError) as error:
                log.warning("job %s: step %d is lost: %s", self.job_id, answer.offer.step, error)
            except RayTaskError as error:
                log.warning("job %s: an expert gave no snapshot: %s", self.job_id, error.cause)

    def _fetched(self, offer: Offer) -> LiveModel:
        weights = offer.weights
        spec, setting = field_setting(weights.manifest, self._device)
        order = sorted(weights.snapshots)
        snapshots = ray.get([weights.snapshots[e] for e in order], timeout=FETCH_TIMEOUT_S)
        models = {
            expert: snapshot_model(snapshot, weights.manifest, expert, setting).to(self._device)
            for expert, snapshot in zip(order, snapshots, strict=True)
        }
        experts = range(len(weights.manifest.partition.centroids))
        if weights.base_uri is not None:
            models |= self._of_checkpoint(
                weights.base_uri, weights.manifest, [e for e in experts if e not in models], setting
            )
        model = scene_model(
            weights.manifest, spec, setting, tuple(models[e] for e in experts), weights.shared
        )
        return LiveModel(offer.mark, offer.step, model, weights.manifest)

    def _of_checkpoint(
        self, uri: str, manifest: Manifest, experts: list[int], setting: FieldSetting
    ) -> dict[int, ExpertModel]:
        """Experts that the job does not touch, read once."""
        known_uri, models = self._unchanged
        if known_uri != uri or sorted(models) != experts:
            models = {e: load_expert_model(uri, manifest, e, setting).to(self._device) for e in experts}
            self._unchanged = (uri, models)
        return models
