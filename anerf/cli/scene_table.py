"""The summary of a scene that `prepare` and `update` end with."""

import json
import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anerf.scene.scene import Scene


def show_scene(scene: Scene, *, as_json: bool) -> None:
    """Writes the summary to standard output, as a table or as one JSON object."""
    if as_json:
        sys.stdout.write(json.dumps(scene.summary()) + "\n")
        return
    lo, hi, size = scene.aabb.lo, scene.aabb.hi, scene.aabb.size
    splits = ", ".join(f"{split} {len(scene.frames_of(split))}" for split in scene.splits())
    place = scene.reference
    table = Table(title=escape(f"scene {scene.name}"), show_header=False, title_justify="left")
    table.add_row("folder", escape(str(scene.root)))
    table.add_row("photographs", escape(f"{len(scene.frames)} ({splits})"))
    table.add_row(
        "reference",
        f"{place.latitude_deg:.7f}, {place.longitude_deg:.7f}, {place.height_m:.2f} m ({scene.crs})",
    )
    table.add_row("box east", f"{lo[0]:.1f} to {hi[0]:.1f} m ({size[0]:.1f} m)")
    table.add_row("box north", f"{lo[1]:.1f} to {hi[1]:.1f} m ({size[1]:.1f} m)")
    table.add_row("box up", f"{lo[2]:.1f} to {hi[2]:.1f} m ({size[2]:.1f} m)")
    table.add_row("altitude range", f"{scene.altitude_range_m[0]:.1f} to {scene.altitude_range_m[1]:.1f} m")
    if scene.reprojection is not None:
        through, stated = scene.reprojection.scene_px, scene.reprojection.model_px
        table.add_row(
            "sparse points", f"{through:.2f} px off through these cameras, {stated:.2f} px by the model"
        )
    table.add_row("made by", escape(scene.made_by))
    Console().print(table)
