"""Running jobs' scenes in a renderer: the newest complete set of weights of each job that is asked for."""

from actors.live import LiveModel, LiveScene
from actors.running import JobNotRunning, NoAnswer
from serve_apps.admission import RenderersAway
from serve_apps.cache import LruCache
from serve_apps.source import NotFoundError

JOBS_AT_ONCE = 2
_FIRST_LOOK_S = 5.0
"""A job offers its weights only once somebody has asked, after its next round."""


class LiveScenes:
    """Of the jobs that were looked at last; safe for threads."""

    def __init__(self) -> None:
        self._scenes: LruCache[str, LiveScene] = LruCache(JOBS_AT_ONCE)

    def newest(self, job_id: str) -> LiveModel:
        """The newest scene of a job.

        Raises:
            NotFoundError: no such job runs. JobWithoutExperts: it is of another kind.
            RenderersAway: it has nothing to show yet, or is too busy to answer.
        """
        scene = self._scenes.get(job_id, lambda: LiveScene(job_id))
        try:
            newest = scene.newest(wait_s=_FIRST_LOOK_S)
        except JobNotRunning as error:
            raise NotFoundError(f"{error}: ask for its checkpoint.") from error
        except NoAnswer as error:
            raise RenderersAway(str(error)) from error
        if newest is None:
            raise RenderersAway(f"Job {job_id} has nothing to show yet: ask again.")
        return newest
