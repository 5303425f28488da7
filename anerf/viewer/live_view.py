"""One browser's part in running jobs: what it follows, what it starts, and what it asks of them."""

from collections.abc import Callable
from dataclasses import dataclass

import viser

from anerf.viewer.feed import LiveFeed
from anerf.viewer.live import Adaptation, Command, JobNews, LiveScene
from anerf.viewer.panels.adaptation import AdaptationPanel
from anerf.viewer.panels.live import LivePanel
from anerf.viewer.surroundings import Surroundings


@dataclass(frozen=True)
class LiveHost:
    """What a browser does with running jobs.

    `attempt` runs something and tells the person what was wrong with it; `checkpoint_uri` is the folder of
    the checkpoint that is shown; `look` begins to show a job's scene, `see` brings a newer one, `look_away`
    ends it; `over` hears of the job's end.
    """

    attempt: Callable[[Callable[[], None]], None]
    checkpoint_uri: Callable[[], str]
    look: Callable[[str], None]
    see: Callable[[str, LiveScene], None]
    look_away: Callable[[], None]
    over: Callable[[JobNews], None]


class LiveView:
    """The panels of running jobs, acting on the jobs themselves. `who` is the browser."""

    def __init__(
        self, gui: viser.GuiApi, feed: LiveFeed, who: int, surroundings: Surroundings, host: LiveHost
    ) -> None:
        self._feed, self._who, self._host, self._surroundings = feed, who, host, surroundings
        self._followed: str | None = None
        self._panel = LivePanel(gui, tuple(feed.jobs.running()))
        with gui.add_folder("Adapt to a new flight"):
            self._adaptation = AdaptationPanel(gui, surroundings.batches)
        self._panel.on_follow(lambda: host.attempt(self._follow))
        self._panel.on_again(lambda: host.attempt(self._look_for_jobs))
        self._panel.on_command(
            lambda command: host.attempt(lambda: self._steer(command)), lambda: host.attempt(self._cancel)
        )
        self._adaptation.on_start(lambda: host.attempt(self._start))
        self._adaptation.on_change(lambda: host.attempt(self._change))

    def leave(self) -> None:
        """The browser has gone."""
        self._feed.leave(self._who)

    def look_again(self) -> None:
        """The scene of the job that is followed is wanted though it is not a newer one."""
        job_id = self._followed
        if job_id is not None and self._panel.shows_scene:
            self._feed.follow(job_id, self._who, self._hear, lambda scene: self._host.see(job_id, scene))

    def _look_for_jobs(self) -> None:
        self._panel.offer(tuple(self._feed.jobs.running()))

    def _follow(self) -> None:
        job_id, before = self._panel.job_id, self._followed
        if before not in (None, job_id):
            self._feed.leave(self._who, before)
        self._followed = job_id
        if job_id is None:
            self._host.look_away()
            return
        if self._panel.shows_scene:
            self._host.look(job_id)
            self.look_again()
        else:
            self._host.look_away()
            self._feed.follow(job_id, self._who, self._hear)

    def _hear(self, news: JobNews) -> None:
        if news.job_id != self._followed:
            return
        self._panel.show(news)
        if news.is_over:
            self._host.over(news)

    def _start(self) -> None:
        wanted = self._adaptation.wanted
        scene = self._surroundings.scene
        assert scene is not None, "without a scene there are no batches"
        wish = Adaptation(
            self._host.checkpoint_uri(),
            str(scene.root),
            wanted.batch,
            wanted.steps,
            wanted.rates,
            wanted.downscale,
        )
        self._panel.choose(self._feed.jobs.start(wish))

    def _steer(self, command: Command) -> None:
        if (job_id := self._followed) is not None:
            self._feed.jobs.steer(job_id, command, self._panel.steps)

    def _change(self) -> None:
        if (job_id := self._followed) is not None:
            self._feed.jobs.change(job_id, self._adaptation.rates)

    def _cancel(self) -> None:
        if (job_id := self._followed) is not None:
            self._feed.jobs.cancel(job_id)
