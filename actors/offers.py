"""What a running job lets others see: all experts' weights of one step, taken when somebody looks.

The weights stay in the object store; here are references. The coordinator keeps one set, and a second one
while it is taken; whoever draws an older one keeps that until its picture is done.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import ray
from ray import ObjectRef
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from actors.each import StepMismatch
from actors.fan_out import cause_of
from anerf.checkpoint.manifest import Manifest

log = logging.getLogger(__name__)

LOOKED_AT_S = 3.0
"""Somebody who has asked since then looks, and a new set is taken after each round."""
SHARE = 0.2
"""Of a job's time that taking sets may cost: where they are large they come less often."""
SNAPSHOT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Weights:
    """All experts at one step. Those without a snapshot are as in the checkpoint `base_uri`."""

    manifest: Manifest
    shared: Mapping[str, np.ndarray]
    snapshots: Mapping[int, ObjectRef]
    base_uri: str | None = None


@dataclass(frozen=True)
class Offer:
    """`weights` under a mark that no other has; `step` as in the job's `progress` events."""

    mark: str
    step: int
    weights: Weights


@dataclass(frozen=True)
class Answer:
    """The mark of the newest offer (None: there is none now), and the offer if it is not known yet."""

    newest: str | None
    offer: Offer | None


class Offers:
    """A job's newest weights. Safe for threads: readers on one side, the run on the other."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._run = secrets.token_hex(4)
        self._n = 0
        self._newest: Offer | None = None
        self._asked_at = -LOOKED_AT_S
        self._not_before = 0.0

    def answer(self, known: str | None) -> Answer:
        """What is new to a reader who knows the offer of this mark; somebody looks from now on."""
        with self._lock:
            self._asked_at = self._clock()
            newest = self._newest
        if newest is None:
            return Answer(None, None)
        return Answer(newest.mark, None if newest.mark == known else newest)

    def renew(self, step: int, take: Callable[[], Weights | None]) -> None:
        """Between two rounds: offer the weights of this step, if somebody looks.

        Args:
            take: Gives them; None where they are not all at one step now, which the next round may mend.
        """
        began = self._clock()
        with self._lock:
            looked_at = began - self._asked_at < LOOKED_AT_S
            if not looked_at:
                self._newest = None
            if not looked_at or began < self._not_before or self._is_at(step):
                return
        weights = take()
        took_s = self._clock() - began
        self._not_before = began + took_s / SHARE
        if weights is None:
            return
        with self._lock:
            self._n += 1
            self._newest = Offer(f"{self._run}-{self._n}", step, weights)

    def forget(self) -> None:
        """What was offered is no longer so: the same step may bring other weights."""
        with self._lock:
            self._newest = None

    def _is_at(self, step: int) -> bool:
        return self._newest is not None and self._newest.step == step


def whole(on_their_way: Mapping[int, tuple[ObjectRef, ObjectRef]]) -> dict[int, ObjectRef] | None:
    """Snapshots that are all taken when this returns, so that no step falls into the midst of one.

    Args:
        on_their_way: of each expert, its step and its snapshot, which arrive together.

    Returns:
        None where there are none, or one was lost: nobody is waited for, the next round mends it.
    """
    try:
        ray.get([stamp for stamp, _ in on_their_way.values()], timeout=SNAPSHOT_TIMEOUT_S)
    except (RayActorError, GetTimeoutError) as error:
        log.warning("a snapshot to be looked at was lost: %s", error)
        return None
    except RayTaskError as error:
        if not isinstance(cause_of(error), StepMismatch):
            raise
        log.warning("a snapshot to be looked at was lost: %s", cause_of(error))
        return None
    return {expert: snapshot for expert, (_, snapshot) in on_their_way.items()} or None
