"""Follows running jobs for all browsers together: one thread a job, as long as somebody looks."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from anerf.errors import AnerfError
from anerf.viewer.live import JobNews, LiveJobs, LiveScene

NEWS_EVERY_S = 1.0
LOOK_EVERY_S = 0.2
_log = logging.getLogger(__name__)

Hear = Callable[[JobNews], None]
See = Callable[[LiveScene], None]


@dataclass(eq=False)
class _Followed:
    """Who follows a job; its newest scene, whose weights stay in memory, as long as somebody looks."""

    ears: dict[int, Hear] = field(default_factory=dict)
    eyes: dict[int, See] = field(default_factory=dict)
    scene: LiveScene | None = None

    def look(self, who: int, see: See | None) -> None:
        """Take scenes to `who` from here on, or no longer."""
        if see is None:
            self.eyes.pop(who, None)
        else:
            self.eyes[who] = see
        self.keep(self.scene)

    def keep(self, scene: LiveScene | None) -> None:
        """For who comes later."""
        self.scene = scene if self.eyes else None


class LiveFeed:
    """Brings news and scenes of jobs to those who follow them. Safe for threads.

    Where nobody wants scenes, the job is asked one question a second and offers none.
    """

    def __init__(self, jobs: LiveJobs) -> None:
        self.jobs = jobs
        self._lock = threading.Lock()
        self._followed: dict[str, _Followed] = {}

    def follow(self, job_id: str, who: int, hear: Hear, see: See | None = None) -> None:
        """Bring `who` the news of a job, and its scenes if `see` is given, until `leave` or the job's end."""
        with self._lock:
            is_new = job_id not in self._followed
            followed = self._followed.setdefault(job_id, _Followed())
            followed.ears[who] = hear
            followed.look(who, see)
            scene = followed.scene
        if see is not None and scene is not None:
            see(scene)
        if is_new:
            threading.Thread(
                target=self._work, args=(job_id, followed), name=f"follows {job_id}", daemon=True
            ).start()

    def leave(self, who: int, job_id: str | None = None) -> None:
        """Bring `who` nothing more of a job; of no job where None."""
        with self._lock:
            for name, followed in self._followed.items():
                if job_id in (None, name):
                    followed.ears.pop(who, None)
                    followed.look(who, None)

    def _work(self, job_id: str, followed: _Followed) -> None:
        try:
            self._bring(job_id, followed)
        finally:
            with self._lock:
                self._drop(job_id, followed)

    def _bring(self, job_id: str, followed: _Followed) -> None:
        told_at, trouble = -NEWS_EVERY_S, ""
        while self._is_wanted(job_id, followed):
            try:
                if time.monotonic() - told_at >= NEWS_EVERY_S:
                    told_at = time.monotonic()
                    news = self.jobs.news(job_id)
                    if news.is_over:
                        with self._lock:
                            self._drop(job_id, followed)  # who comes from here on hears it by a new thread
                    for hear in self._listeners(followed.ears):
                        hear(news)
                    if news.is_over:
                        return
                if followed.eyes:
                    self._look(job_id, followed)
            except (AnerfError, OSError) as error:
                if str(error) != trouble:
                    trouble = str(error)
                    _log.info("job %s: %s", job_id, trouble)
            time.sleep(LOOK_EVERY_S)

    def _is_wanted(self, job_id: str, followed: _Followed) -> bool:
        with self._lock:
            if not followed.ears:
                self._drop(job_id, followed)  # at once: who comes now needs a new thread
            return bool(followed.ears)

    def _drop(self, job_id: str, followed: _Followed) -> None:
        """Under the lock: nobody joins these listeners any more; those of a newer thread stay."""
        if self._followed.get(job_id) is followed:
            del self._followed[job_id]

    def _listeners(self, of: dict[int, Callable[..., None]]) -> list[Callable[..., None]]:
        with self._lock:
            return list(of.values())

    def _look(self, job_id: str, followed: _Followed) -> None:
        with self._lock:  # who leaves lets the scene go
            known = followed.scene.mark if followed.scene else None
        scene = self.jobs.scene(job_id, known)
        if scene is None:
            return
        with self._lock:
            followed.keep(scene)
        for see in self._listeners(followed.eyes):
            see(scene)
