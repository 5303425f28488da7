"""A running job beside the picture: how it goes, its curves, and buttons that steer it."""

import math
from collections.abc import Callable
from typing import cast, get_args

import viser

from anerf.viewer.live import Command, JobNews
from anerf.viewer.panels.charts import Charts
from anerf.viewer.panels.layers import experts_legend

NO_JOB: str = "none"
_COMMANDS = get_args(Command)


class LivePanel:
    """Chooses a job to follow, shows its news, and asks for what its buttons say."""

    def __init__(self, gui: viser.GuiApi, running: tuple[str, ...]) -> None:
        self._job = gui.add_dropdown("Follow job", (NO_JOB, *running), initial_value=NO_JOB)
        self._again = gui.add_button("Look for running jobs", color="gray")
        self._shows_scene = gui.add_checkbox(
            "Show its scene as it learns", True, hint="Of the job that is followed, about once a second"
        )
        self._text = gui.add_markdown("Choose a job, or start an adaptation below.")
        self._progress = gui.add_progress_bar(0.0, visible=False)
        self._groups = [
            gui.add_button_group("Run", _COMMANDS[:3], visible=False),
            gui.add_button_group("Result", _COMMANDS[3:], visible=False),
        ]
        self._steps = gui.add_number("Steps at a time", 10, min=1, max=10_000, step=1, visible=False)
        self._cancel = gui.add_button("Cancel the job", color="red", visible=False)
        self._legend = gui.add_html("", visible=False)
        self._charts = Charts(gui)

    @property
    def job_id(self) -> str | None:
        """The job that is followed."""
        job_id = self._job.value  # once: the browser may choose another meanwhile
        return None if job_id == NO_JOB else job_id

    @property
    def shows_scene(self) -> bool:
        """Whether its scene is to be seen."""
        return self._shows_scene.value

    @property
    def steps(self) -> int:
        """How many steps `step` means."""
        return int(self._steps.value)

    def on_follow(self, follow: Callable[[], None]) -> None:
        """Call `follow` when another job is chosen, or its scene is to be seen or not."""
        self._job.on_update(lambda _: follow())
        self._shows_scene.on_update(lambda _: follow())

    def on_again(self, running: Callable[[], None]) -> None:
        """Call `running` when running jobs are looked for."""
        self._again.on_click(lambda _: running())

    def on_command(self, steer: Callable[[Command], None], cancel: Callable[[], None]) -> None:
        """Call `steer` or `cancel` when a button is pressed."""
        for group in self._groups:
            group.on_click(lambda event: steer(cast(Command, event.target.value)))
        self._cancel.on_click(lambda _: cancel())

    def offer(self, running: tuple[str, ...]) -> None:
        """Let these be chosen; what is chosen stays."""
        chosen = self._job.value
        self._job.options = tuple(dict.fromkeys((NO_JOB, *running, chosen)))
        self._job.value = chosen

    def choose(self, job_id: str) -> None:
        """Follow this job, as by hand."""
        self._job.options = tuple(dict.fromkeys((*self._job.options, job_id)))
        self._job.value = job_id

    def show(self, news: JobNews) -> None:
        """Show where the job stands."""
        self._text.content = news_words(news)
        self._progress.visible = news.of_steps > 0 and not news.is_over
        if news.of_steps:
            self._progress.value = 100.0 * min(1.0, news.step / news.of_steps)
        can = not news.is_over and news.op in ("train", "eval")
        for handle in (*self._groups, self._steps, self._cancel):
            if handle.visible != can:
                handle.visible = can
        if news.loss_curves:
            legend = experts_legend(tuple(news.loss_curves))
            if self._legend.content != legend:
                self._legend.content, self._legend.visible = legend, True
        self._charts.show(news)


def news_words(news: JobNews) -> str:
    """Where a job stands, in Markdown."""
    what = {"train": "Training", "eval": "Adaptation", "video": "Video"}.get(news.op, news.op)
    lines = [f"**{what} {news.job_id}: {news.state}**"]
    if news.message:
        lines.append(news.message.replace("<", "&lt;")[:400])
    if news.of_steps and not news.is_over:
        left = f", {news.eta_s:.0f} s left" if math.isfinite(news.eta_s) else ""
        lines.append(f"step {news.step} of {news.of_steps}{left}")
    if math.isfinite(news.loss):
        lines.append(f"loss {news.loss:.5f}, {news.rays_per_s:,.0f} rays/s")
    roles = {role: (step, psnr_db) for step, role, psnr_db in news.measured}
    words = {"new": "new views", "old": "old views"}
    lines += [
        f"{words.get(role, role)} {psnr:.2f} dB after step {step}" for role, (step, psnr) in roles.items()
    ]
    return "  \n".join(lines)
