"""`anerf bench look`: what it costs a training to be looked at while it learns."""

import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from anerf.errors import InputError, StackError
from cluster.bench_endpoint import endpoint
from cluster.bench_ray_share import training_job
from cluster.ray_processes import cpu_s, machine_cpu_s, roles
from cluster.run import own_ray
from cluster.show import AsJson, print_json

if TYPE_CHECKING:
    from actors.starting import StartedJob
    from anerf.jobs.spec import TrainJob
    from anerf.scene.scene import Frame

_START_TIMEOUT_S = 120.0
_SETTLE_S = 3.0
"""From the first picture on a job offers its weights, after the last one for some seconds more."""
_NEVER = 1_000_000_000


@dataclass(frozen=True)
class LookCost:
    """A training alone and looked at, by turns; medians over `spells`, shares are of all cores' time."""

    experts: int
    cores: int
    width: int
    height: int
    spells: int
    spell_s: float
    alone_steps_s: float
    looked_at_steps_s: float
    slower: float
    """What the training loses of its pace: 0.1 is a tenth; median over neighbours."""
    pictures_s: float
    renderer_share: float
    """CPU time of the renderer while it is asked without a pause."""
    alone_share: float
    looked_at_share: float
    """CPU time of the experts."""
    others_share: float
    """Of all other processes of the machine: what is above a twentieth spoils the figures."""


@dataclass(frozen=True)
class _Spell:
    began_at: float
    ended_at: float
    pictures: int
    experts_cpu_s: float
    renderers_cpu_s: float
    others_cpu_s: float


def bench_look(
    job: Path | None = None,
    spells: int = 8,
    spell_s: float = 10.0,
    width: int = 512,
    height: int = 384,
    as_json: AsJson = False,
) -> None:
    """Let a training run, ask the endpoint for its pictures without a pause, and not at all, by turns.

    The training is a job like any other, on a Ray of its own; the pictures show its newest weights. Tells how
    much slower it learns, beside the part of the cores that the renderer took.

    Args:
        job: A training job's file; without it the demo's, on a tiny made survey.
        spells: Of each kind.
        spell_s: How long one lasts, in seconds; three more before each are not counted.
        width: Of a picture, in pixels.
        height: Of a picture, in pixels.
        as_json: Print one JSON object.
    """
    if spells < 1 or not 1 <= spell_s <= 600:
        raise InputError(f"{spells} spells of {spell_s} s: give at least one, of 1 to 600 s")
    console = Console(stderr=True)
    with own_ray(), tempfile.TemporaryDirectory() as folder, console.status("Training"):
        # Nothing but learning in it, and no end before we are done.
        changes = {"outer_steps": _NEVER, "eval_step": _NEVER, "save_step": _NEVER}
        training = training_job(job, Path(folder)).model_copy(update=changes)
        found = measure(training, spells, spell_s, (width, height), Path(folder))
    if as_json:
        print_json(asdict(found))
        return
    table = Table("", "alone", "looked at", box=None, pad_edge=False)
    table.add_row("steps a second", f"{found.alone_steps_s:.2f}", f"{found.looked_at_steps_s:.2f}")
    table.add_row("experts' part of the cores", f"{found.alone_share:.0%}", f"{found.looked_at_share:.0%}")
    table.add_row("renderer's part of the cores", "", f"{found.renderer_share:.0%}")
    table.add_row("pictures a second", "", f"{found.pictures_s:.2f}")
    Console().print(table)
    Console().print(
        f"Looked at without a pause, it learns {found.slower:.1%} slower. {found.experts} experts, "
        f"{found.cores} cores, pictures of {found.width} x {found.height}, medians of {found.spells} spells "
        f"of {found.spell_s:g} s each. Other work took {found.others_share:.1%} of the cores.",
        style="dim",
    )


def measure(job: "TrainJob", spells: int, spell_s: float, size: tuple[int, int], out: Path) -> LookCost:
    """Run the job in the Ray that is there, and look at it now and then.

    Raises:
        AnerfError: what the job cannot use. StackError: it does not start, or ends too early.
    """
    from actors.starting import start_job
    from anerf.jobs import settings
    from anerf.scene.scene import load_scene

    scene = load_scene(job.scene_path())
    cores = os.cpu_count() or 1
    with endpoint(out / "jobs") as client:
        started = start_job(job, out / "jobs")
        try:
            looker = _Looker(client, started.job_id, scene.frames[0], size)
            _wait_for_steps(started)
            alone, looked_at = [], []
            for _ in range(spells):
                alone.append(_spell(spell_s, looker))
                with looker.looking():
                    looked_at.append(_spell(spell_s, looker))
            pace = _Pace(Path(started.show().folder))
        finally:
            started.close()
    alone_steps_s, looked_at_steps_s = ([pace.steps_s(s) for s in kind] for kind in (alone, looked_at))
    core_s = cores * spell_s
    return LookCost(
        experts=len(settings.job_partition(scene, job).boxes),
        cores=cores,
        width=size[0],
        height=size[1],
        spells=spells,
        spell_s=spell_s,
        alone_steps_s=statistics.median(alone_steps_s),
        looked_at_steps_s=statistics.median(looked_at_steps_s),
        slower=statistics.median(
            1 - looked / one for one, looked in zip(alone_steps_s, looked_at_steps_s, strict=True)
        ),
        pictures_s=statistics.median(s.pictures / (s.ended_at - s.began_at) for s in looked_at),
        renderer_share=statistics.median(s.renderers_cpu_s for s in looked_at) / core_s,
        alone_share=statistics.median(s.experts_cpu_s for s in alone) / core_s,
        looked_at_share=statistics.median(s.experts_cpu_s for s in looked_at) / core_s,
        others_share=statistics.median(s.others_cpu_s for s in (*alone, *looked_at)) / core_s,
    )


class _Looker:
    """Asks for one picture of a running job after the other, while it is told to."""

    def __init__(self, client: HTTPConnection, job_id: str, frame: "Frame", size: tuple[int, int]) -> None:
        self._client = client
        self._body = json.dumps(
            {"job": job_id, "c2w": frame.c2w.tolist(), "width": size[0], "height": size[1]}
        )
        self.n_pictures = 0

    @contextmanager
    def looking(self) -> Iterator[None]:
        over = threading.Event()

        def look() -> None:
            while not over.is_set():
                self._look()

        with ThreadPoolExecutor(1) as thread:
            done = thread.submit(look)
            try:
                yield
            finally:
                over.set()
            done.result()

    def _look(self) -> None:
        self._client.request("POST", "/render", self._body, {"Content-Type": "application/json"})
        answer = self._client.getresponse()
        data = answer.read()
        if answer.status == 200:
            self.n_pictures += 1
        elif answer.status != 503:  # it has nothing to show yet
            raise StackError(f"the endpoint answered {answer.status}: {data[:300].decode(errors='replace')}")


class _Pace:
    """How many steps a job had done at any time, from its events."""

    def __init__(self, folder: Path) -> None:
        events = map(json.loads, (folder / "events.jsonl").read_text(encoding="utf-8").splitlines())
        rounds = [event for event in events if event["kind"] == "progress"]
        self._at = [datetime.fromisoformat(event["at"]).timestamp() for event in rounds]
        self._steps: Sequence[float] = [event["step"] for event in rounds]

    def steps_s(self, spell: _Spell) -> float:
        """In the spell's time; between two events steps are taken to follow evenly."""
        first, last = np.interp([spell.began_at, spell.ended_at], self._at, self._steps)
        return float(last - first) / (spell.ended_at - spell.began_at)


def _wait_for_steps(started: "StartedJob") -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        record = started.show().record
        if record.state.is_terminal:
            raise StackError(f"the training ended before it was measured: {record.message}")
        if record.step:
            return
        if time.monotonic() > deadline:
            raise StackError(f"the training did not start within {_START_TIMEOUT_S:.0f} s: {record.message}")
        time.sleep(0.2)


def _spell(seconds: float, looker: _Looker) -> _Spell:
    time.sleep(_SETTLE_S)
    who, began_at = roles(), time.time()
    before, machine_before, pictures = cpu_s(who), machine_cpu_s(), looker.n_pictures
    time.sleep(seconds)
    after, ended_at = cpu_s(who), time.time()
    taken = {role: after[role] - before[role] for role in after}
    return _Spell(
        began_at=began_at,
        ended_at=ended_at,
        pictures=looker.n_pictures - pictures,
        experts_cpu_s=taken["experts"],
        renderers_cpu_s=taken["renderers"],
        others_cpu_s=max(0.0, machine_cpu_s() - machine_before - sum(taken.values())),
    )
