"""A running job as others reach it, from any process of the cluster."""

from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from actors.figures import LiveFigures
from actors.names import JOB_PREFIX, NAMESPACE, RUN_PREFIX
from actors.steering import Wish
from anerf.errors import AnerfError, JobError
from anerf.jobs.values import NAME

if TYPE_CHECKING:  # it brings torch, and those who only steer need none
    from actors.offers import Answer

ANSWER_TIMEOUT_S = 10.0


class JobNotRunning(JobError):
    """No job of this id runs in the cluster: there is none, it waits, or it has ended."""


class JobWithoutExperts(JobError):
    """The job runs, and is neither a training nor an adaptation."""


class NoAnswer(AnerfError):
    """Whoever was asked is there, and too busy to answer, or about to be replaced."""

    retryable = True


class RunningJob:
    """A running training or adaptation, by its id. Finding it again costs little; safe for threads.

    Every method raises `JobNotRunning`, `JobWithoutExperts` or `NoAnswer`.
    """

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self._actor: Any = None

    def steer(self, wish: Wish) -> None:
        """Ask something of the job; it is done before its next round, see `Steering`. Returns at once.

        Raises:
            JobError: the wish is not for this kind of job.
        """
        self._ask("steer", wish)

    def cancel(self) -> None:
        """End the job at its next safe moment. One of the Mediator's is better cancelled there."""
        self._ask("cancel")

    def figures(self) -> LiveFigures:
        """Where the job stands, with its curves."""
        return self._ask("live_figures")

    def offer(self, known: str | None) -> "Answer":
        """The newest weights, unless they are those `known` by this mark; see `LiveScene`."""
        return self._ask("newest_offer", known)

    def _ask(self, method: str, *arguments: object) -> Any:
        actor = self._find()
        if not hasattr(actor, method):
            raise JobWithoutExperts(
                f"job {self.job_id} does not learn: give the id of a training or an adaptation"
            )
        try:
            return ray.get(getattr(actor, method).remote(*arguments), timeout=ANSWER_TIMEOUT_S)
        except RayTaskError as error:
            cause = error.cause
            raise (cause if isinstance(cause, AnerfError) else error) from error
        except RayActorError as error:
            self._actor = None
            raise self._not_running() from error
        except GetTimeoutError as error:
            raise NoAnswer(
                f"job {self.job_id} gave no answer within {ANSWER_TIMEOUT_S:g} s: ask again"
            ) from error

    def _find(self) -> Any:
        if self._actor is not None:
            return self._actor
        if not NAME.fullmatch(self.job_id):
            raise self._not_running()
        for prefix in (JOB_PREFIX, RUN_PREFIX):
            try:
                self._actor = ray.get_actor(prefix + self.job_id, namespace=NAMESPACE)
            except ValueError:
                continue
            return self._actor
        raise self._not_running()

    def _not_running(self) -> JobNotRunning:
        return JobNotRunning(
            f"no job {self.job_id[:100]!r} is running: `anerf jobs list` tells where it stands; what has"
            " ended is seen by its checkpoint"
        )
