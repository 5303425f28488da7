"""`anerf partition SCENE --grid 2 2 | --kmeans 8 | --balanced 8, --margin 1.1 --name g22`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from anerf.cli.progress import progress_bar
from anerf.errors import PartitionError
from anerf.partition.balance import imbalance
from anerf.partition.build import make_partition, own_pixels
from anerf.partition.designs import Balanced, Design, Grid, KMeans
from anerf.partition.regions import Partition, load_coverage
from anerf.scene.scene import Scene, load_scene


def partition(
    scene: tyro.conf.Positional[Path],
    *,
    grid: tuple[int, int] | tuple[int, int, int] | None = None,
    kmeans: int | None = None,
    balanced: int | None = None,
    dims: Literal[2, 3] | None = None,
    seed: int = 0,
    margin: float = 1.1,
    name: str | None = None,
    overwrite: bool = False,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Divides a scene into the regions of its experts: by default in a grid of 2 x 2.

    Args:
        scene: The scene folder.
        grid: Regions from west to east and from south to north, and layers from below where given.
        kmeans: So many experts, each in the middle of what it sees.
        balanced: So many experts, whose own pixels differ by less than 10 %.
        dims: Whether k-means and balanced experts divide the ground plan (2, the default) or space (3).
        seed: Of k-means.
        margin: Neighbours blend where they are up to this many times as far as the nearest centroid; 1 for
            sharp borders.
        name: The partition's name; by default one that tells the design, such as g22_grid_bm110 or b8_bm110.
        overwrite: Replaces a partition of this name.
        as_json: Writes the summary as JSON.
    """
    design = _design(grid, kmeans, balanced, dims, seed)
    opened = load_scene(scene)
    with progress_bar("photographs", hidden=as_json) as progress:
        made = make_partition(opened, design, margin, name, overwrite=overwrite, progress=progress)
    _show(opened, made, as_json=as_json)


def _design(
    grid: tuple[int, ...] | None,
    kmeans: int | None,
    balanced: int | None,
    dims: Literal[2, 3] | None,
    seed: int,
) -> Design:
    given = {"--grid": grid, "--kmeans": kmeans, "--balanced": balanced}
    chosen = [option for option, value in given.items() if value is not None]
    if len(chosen) > 1:
        raise PartitionError(f"{' and '.join(chosen)} are two designs; give one of them")
    if kmeans is not None:
        return KMeans(kmeans, dims or 2, seed)
    if balanced is not None:
        return Balanced(balanced, dims or 2)
    design = Grid(*(grid or (2, 2)))
    if dims not in (None, design.dims):
        raise PartitionError(
            f"--dims {dims} does not suit --grid with {len(design.counts)} numbers; give --grid NX NY for 2 "
            "dimensions, --grid NX NY NZ for 3"
        )
    return design


def _show(scene: Scene, made: Partition, *, as_json: bool) -> None:
    coverage = load_coverage(scene, made.name)
    pixels = np.bincount(coverage.expert, coverage.pixels, made.n_experts)
    frames = np.bincount(coverage.expert[coverage.pixels > 0], minlength=made.n_experts)
    own = own_pixels(scene, coverage, made.n_experts)
    uneven, share = imbalance(own), own / max(own.sum(), 1)
    if as_json:
        experts = [
            {
                "expert": i,
                "centroid_m": made.centroids[i].tolist(),
                "aabb_m": box.to_json(),
                "frames": int(frames[i]),
                "pixels": int(pixels[i]),
                "own_pixels": int(own[i]),
                "share": round(float(share[i]), 6),
            }
            for i, box in enumerate(made.boxes)
        ]
        summary = {
            "name": made.name,
            "how": made.how,
            "dims": made.dims,
            "margin": made.margin,
            "imbalance": round(uneven, 6) if np.isfinite(uneven) else None,
            "experts": experts,
        }
        sys.stdout.write(json.dumps(summary) + "\n")
        return
    title = f"partition {made.name} of {scene.name}: {made.how}, margin {made.margin:g}"
    columns = ("expert", f"centre {'east, north' if made.dims == 2 else 'east, north, up'} (m)", "box (m)")
    table = Table(*columns, "photographs", "megapixels", "own share", title=title)
    for i, box in enumerate(made.boxes):
        centre = ", ".join(f"{place:.0f}" for place in made.centroids[i, : made.dims])
        size = " x ".join(f"{side:.0f}" for side in box.size)
        row = (str(i), centre, size, str(frames[i]), f"{pixels[i] / 1e6:.3g}", f"{share[i]:.1%}")
        table.add_row(*row)
    Console().print(table)
