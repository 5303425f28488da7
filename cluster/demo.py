"""`anerf demo`: the whole system on a made survey, by the commands that a user would type."""

import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from anerf.errors import StackError
from anerf.jobs.folder import write_json_atomically
from cluster.demo_report import Timing, ask_for_picture, report
from cluster.stack import living_stack

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
VIEWER_S = 3600


@dataclass
class Runner:
    """Runs commands one after the other, showing each and remembering how long it took."""

    console: Console
    timings: list[Timing]

    def anerf(self, what: str, *arguments: str | Path) -> None:
        """One `anerf` command; `what` names the step in the table.

        Raises:
            StackError: it failed; its own message stands above.
        """
        words = [str(argument) for argument in arguments]
        self.console.rule(what, align="left")
        self.console.print(f"$ anerf {shlex.join(words)}", style="bold", highlight=False)
        started = time.monotonic()
        done = subprocess.run([Path(sys.executable).with_name("anerf"), *words], check=False)
        self.timings.append(Timing(what, time.monotonic() - started))
        if done.returncode != 0:
            raise StackError(
                f"`anerf {shlex.join(words)}` ended with status {done.returncode}: its message is above"
            )


def demo(out: Path = Path("logs/demo"), seed: int = 7, keep: bool = False) -> None:
    """Make a survey, learn it, adapt to the flight after the event, render it over HTTP, and show how well.

    Args:
        out: Folder for everything that the demo makes.
        seed: Which city.
        keep: Leave the system up with a viewer on the adapted scene.
    """
    console = Console()
    runner = Runner(console, [])
    out = out.absolute()
    survey, scene = out / "survey", out / "scene"
    mark = time.strftime("%m%d-%H%M%S")
    runner.anerf("make the survey", "survey", "--out", survey, "--seed", str(seed))
    runner.anerf("prepare the scene", "prepare", survey / "before", "--out", scene, "--overwrite")
    runner.anerf("partition it", "partition", scene, "--grid", "2", "2", "--margin", "1.1", "--name", "g22")
    runner.anerf("bring the system up", "up", "--out", out)
    try:
        train = job_file(out, "demo_train", f"demo-train-{mark}", scene=scene)
        runner.anerf("send the training job", "send", train, "--out", out)
        runner.anerf("train", "jobs", "watch", train.stem, "--out", out)
        runner.anerf("add the flight after the event", "update", scene, survey / "after", "--batch", "after")
        start = {"scene": scene, "checkpoint_path": out / train.stem}
        adapt = job_file(out, "demo_adapt", f"demo-adapt-{mark}", **start)
        runner.anerf("send the adaptation job", "send", adapt, "--out", out)
        runner.anerf("adapt and measure", "jobs", "watch", adapt.stem, "--out", out)
        console.rule("render over HTTP", align="left")
        started = time.monotonic()
        picture = ask_for_picture(living_stack(out).http_port, out, adapt.stem)
        runner.timings.append(Timing("render over HTTP", time.monotonic() - started))
        console.print(f"POST /render answered {picture}")
        report(console, out, scene, train.stem, adapt.stem, runner.timings)
        if keep:
            _keep_viewer(runner, out, adapt.stem, mark)
    finally:
        if not keep:
            runner.anerf("take the system down", "down", "--out", out)


def job_file(out: Path, config: str, job_id: str, **paths: Path) -> Path:
    """A copy of a job file of `configs/` with its own id and paths."""
    job: dict[str, Any] = json.loads((CONFIGS / f"{config}.json").read_text(encoding="utf-8"))
    job |= {"job_id": job_id, **{name: str(path) for name, path in paths.items()}}
    folder = out / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{job_id}.json"
    write_json_atomically(path, job)
    return path


def _keep_viewer(runner: Runner, out: Path, checkpoint: str, mark: str) -> None:
    view = {"op": "view", "job_id": f"demo-view-{mark}", "viewer_timeout": VIEWER_S}
    path = out / "jobs" / f"{view['job_id']}.json"
    write_json_atomically(path, {**view, "checkpoint_path": str(out / checkpoint)})
    runner.anerf("open the viewer", "send", path, "--out", out)
    runner.console.print(
        f"The viewer comes up on http://127.0.0.1:7070 for {VIEWER_S // 60} minutes."
        f" `anerf jobs logs {path.stem} --out {out}` tells its address,"
        f" `anerf down --out {out}` ends everything.",
        highlight=False,
    )
