"""`anerf partition SCENE --grid 2 2 --margin 1.1 --name g22`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import tyro
from rich.console import Console
from rich.table import Table

from anerf.cli.progress import progress_bar
from anerf.partition.build import grid_partition
from anerf.partition.regions import COVERAGE_FILE, Partition
from anerf.scene.scene import Scene, load_scene


def partition(
    scene: tyro.conf.Positional[Path],
    *,
    grid: tuple[int, int] = (2, 2),
    margin: float = 1.1,
    name: str | None = None,
    overwrite: bool = False,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Divides a scene into the regions of its experts.

    Args:
        scene: The scene folder.
        grid: Regions from west to east and from south to north.
        margin: Neighbours blend where they are up to this many times as far as the nearest centroid; 1 for
            sharp borders.
        name: The partition's name; by default one that tells the design, such as g22_grid_bm110.
        overwrite: Replaces a partition of this name.
        as_json: Writes the summary as JSON.
    """
    opened = load_scene(scene)
    with progress_bar("photographs", hidden=as_json) as progress:
        made = grid_partition(opened, *grid, margin, name, overwrite=overwrite, progress=progress)
    _show(opened, made, as_json=as_json)


def _show(scene: Scene, made: Partition, *, as_json: bool) -> None:
    coverage = pq.read_table(scene.root / "partitions" / made.name / COVERAGE_FILE).to_pydict()
    pixels, frames = [0] * made.n_experts, [0] * made.n_experts
    for expert, count in zip(coverage["expert"], coverage["pixels"], strict=True):
        pixels[expert] += count
        frames[expert] += 1
    if as_json:
        experts = [
            {"expert": i, "aabb_m": box.to_json(), "frames": frames[i], "pixels": pixels[i]}
            for i, box in enumerate(made.boxes)
        ]
        sys.stdout.write(json.dumps({"name": made.name, "margin": made.margin, "experts": experts}) + "\n")
        return
    title = f"partition {made.name} of {scene.name}: {made.how}, margin {made.margin:g}"
    table = Table("expert", "centre east, north (m)", "box (m)", "photographs", "megapixels", title=title)
    for i, box in enumerate(made.boxes):
        east, north = made.centroids[i, :2]
        size = " x ".join(f"{side:.0f}" for side in box.size)
        table.add_row(str(i), f"{east:.0f}, {north:.0f}", size, str(frames[i]), f"{pixels[i] / 1e6:.3g}")
    Console().print(table)
