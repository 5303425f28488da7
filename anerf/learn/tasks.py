"""Tasks: small ground cells of an expert's region, with support and query rays from different photographs."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from anerf.errors import SceneError
from anerf.learn.rays import RaySource


@dataclass(frozen=True)
class Task:
    """Tile numbers (into the ray source) of one cell's support and query photographs."""

    support: Int[Tensor, " s"]
    query: Int[Tensor, " q"]


class TaskCells:
    """The tiles of a ray source sorted into `cell_dim` x `cell_dim` ground cells of its extent."""

    def __init__(self, rays: RaySource, cell_dim: int) -> None:
        self._frame = rays.frame
        lo, hi = rays.surface_xy.amin(0), rays.surface_xy.amax(0)
        cell = ((rays.surface_xy - lo) / (hi - lo).clamp(min=1e-6) * cell_dim).long().clamp(max=cell_dim - 1)
        number = cell[:, 1] * cell_dim + cell[:, 0]
        groups = [(number == i).nonzero()[:, 0] for i in number.unique().tolist()]
        self._groups = [g for g in groups if len(self._frame[g].unique()) >= 2]
        if not self._groups:
            raise SceneError(
                "no ground cell of this expert is seen by two photographs, so that tasks cannot keep support"
                f" and query apart: use a smaller cell_dim than {cell_dim}, or algo plain"
            )

    def __len__(self) -> int:
        """Number of cells that can be tasks."""
        return len(self._groups)

    def draw(self, generator: torch.Generator) -> Task:
        """A random cell, its photographs split in two random halves."""
        tiles = self._groups[int(torch.randint(len(self._groups), (1,), generator=generator))]
        frames = self._frame[tiles].unique()
        shuffled = frames[torch.randperm(len(frames), generator=generator)]
        in_support = torch.isin(self._frame[tiles], shuffled[: len(frames) // 2])
        return Task(tiles[in_support], tiles[~in_support])
