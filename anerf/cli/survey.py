"""`anerf survey`: make a survey to try everything on."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def survey(
    out: Annotated[Path, tyro.conf.arg(help="folder to make; must be new, empty, or hold this same survey")],
    seed: Annotated[int, tyro.conf.arg(help="which city: the same seed gives the same bytes")] = 7,
    size: Annotated[
        Literal["demo", "tiny"], tyro.conf.arg(help="demo: 64 + 24 pictures of 320 x 240")
    ] = "demo",
    season_shift: Annotated[bool, tyro.conf.arg(help="fly the second time under another sun")] = False,
) -> None:
    """Makes an aerial survey of a procedural city block, before and after an event, with its truth."""
    from anerf.scene.made.survey import make_survey  # brings torch, which other commands need not wait for

    console = Console(stderr=True)
    columns = (
        TextColumn("photographing the made city"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("pictures", total=None)
        made = make_survey(
            out,
            seed=seed,
            size=size,
            season_shift=season_shift,
            on_progress=lambda done, of_all: progress.update(task, completed=done, total=of_all),
        )
        progress.update(task, visible=made)
    console.print(f"survey in {out}" if made else f"survey already in {out}, left as it is")
