"""`anerf bench endpoint`: what a picture over HTTP costs beside the same one in this process."""

import http.client
import json
import logging
import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.console import Console
from rich.table import Table

from anerf.errors import InputError, StackError
from cluster.processes import free_port
from cluster.run import own_ray
from cluster.show import AsJson, print_json

if TYPE_CHECKING:
    from anerf.render.scene_model import SceneModel

_SIZES = ((512, 384, "normal"), (320, 240, "draft"), (1280, 960, "normal"))
_WARM_UP = 3
_FIRST_PORT = 8100


@dataclass(frozen=True)
class PictureCost:
    """Medians and the 90th percentile of `frames` pictures each, in milliseconds; they took turns.

    `in_process_ms` is the picture's rendering alone, `http_ms` a request with everything in it.
    """

    width: int
    height: int
    samples: int
    frames: int
    in_process_ms: float
    in_process_p90_ms: float
    http_ms: float
    http_p90_ms: float

    @property
    def ratio(self) -> float:
        """How many times as long it takes over HTTP."""
        return self.http_ms / self.in_process_ms


def bench_endpoint(
    checkpoint: tyro.conf.Positional[str], prefix: str = "best", frames: int = 30, as_json: AsJson = False
) -> None:
    """Render pictures from above through a warm endpoint on a Ray of its own, and in this process.

    Args:
        checkpoint: A job's folder, its checkpoints, or one step's, on this machine.
        prefix: best, last or step<N>.
        frames: Pictures of each size.
        as_json: Print one JSON object a line.
    """
    if frames < 1:
        raise InputError(f"--frames {frames} is not possible: give a positive number")
    from anerf.bench.conditions import conditions, load_average
    from anerf.checkpoint.load import load_scene_model
    from anerf.checkpoint.resolve import resolve_checkpoint
    from anerf.cli.conditions_line import conditions_line

    console, before = Console(stderr=True), load_average()
    # Ray's workers would let all other work of the machine go first, and this process would not.
    os.environ |= {"RAY_worker_niceness": "0"}
    folder = Path(resolve_checkpoint(checkpoint, prefix)).absolute()
    model = load_scene_model(str(folder))
    with own_ray(), console.status("Deploying the endpoint") as status, endpoint(folder.parent) as client:
        costs = []
        for width, height, quality in _SIZES:
            status.update(f"{width} x {height}")
            costs.append(_measure(client, model, folder.name, width, height, quality, frames))
    if as_json:
        for cost in costs:
            print_json({**asdict(cost), "ratio": cost.ratio})
        return
    table = Table("picture", "samples", "in this process: median, p90", "over HTTP: median, p90", "ratio")
    for c in costs:
        table.add_row(
            f"{c.width} x {c.height}",
            str(c.samples),
            f"{c.in_process_ms:.0f}, {c.in_process_p90_ms:.0f} ms",
            f"{c.http_ms:.0f}, {c.http_p90_ms:.0f} ms",
            f"{c.ratio:.2f}",
        )
    Console().print(table)
    Console().print(conditions_line(conditions(before)), highlight=False)


@contextmanager
def endpoint(out_root: Path) -> Iterator[http.client.HTTPConnection]:
    """An endpoint in the Ray that is there, and a way to it, inside the block."""
    from ray import serve

    from serve_apps.render import build_app

    port = free_port(_FIRST_PORT)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        serve.run(build_app(str(out_root)), name="render", route_prefix="/")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        yield connection
        connection.close()
    finally:
        serve.shutdown()


def _measure(
    client: http.client.HTTPConnection,
    model: "SceneModel",
    checkpoint: str,
    width: int,
    height: int,
    quality: str,
    frames: int,
) -> PictureCost:
    from anerf.bench.views import view_from_above
    from anerf.field.threads import kernel_threads
    from anerf.render.picture import render_picture
    from serve_apps.render import CPUS, threads_for
    from serve_apps.renderers import give_way
    from serve_apps.service import QUALITIES

    view = view_from_above(model, width, height)
    samples = QUALITIES[quality][1 if model.spec.sampler == "march" else 0]
    body = json.dumps(
        {
            "checkpoint": checkpoint,
            "c2w": view.c2w.tolist(),
            "intrinsics": {name: getattr(view.camera, name) for name in ("fx", "fy", "cx", "cy")},
            "width": width,
            "height": height,
            "quality": quality,
        }
    )

    def over_http() -> None:
        client.request("POST", "/render", body, {"Content-Type": "application/json"})
        answer = client.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise StackError(f"the endpoint answered {answer.status}: {data[:300].decode(errors='replace')}")

    def in_process() -> None:
        render_picture(model, view.camera, view.c2w, samples=samples)

    seconds: dict[str, list[float]] = {"in_process": [], "http": []}
    # As many threads as a renderer has, that give way to others as its do: else a busy machine would decide.
    threads, nicer_by = threads_for(CPUS)
    with kernel_threads(threads), ThreadPoolExecutor(1, initializer=give_way, initargs=(nicer_by,)) as alike:
        for i in range(_WARM_UP + frames):
            for name, make in (("in_process", in_process), ("http", over_http)):
                start = time.perf_counter()
                alike.submit(make).result()
                if i >= _WARM_UP:
                    seconds[name].append(time.perf_counter() - start)
    return PictureCost(
        width=width,
        height=height,
        samples=samples,
        frames=frames,
        in_process_ms=1e3 * statistics.median(seconds["in_process"]),
        in_process_p90_ms=1e3 * _p90(seconds["in_process"]),
        http_ms=1e3 * statistics.median(seconds["http"]),
        http_p90_ms=1e3 * _p90(seconds["http"]),
    )


def _p90(values: list[float]) -> float:
    return sorted(values)[min(int(0.9 * len(values)), len(values) - 1)]
