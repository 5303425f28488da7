"""A table's gradient that is nonzero in few places, and which places these are.

A hash table has millions of floats and a batch touches thousands of them. Kernels add to `values` and mark
each line of `LINE` floats that they touched; the optimiser visits marked lines only, and clears them as it
goes. So between steps the gradient is zero everywhere and no mark is set.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from anerf.field.memory import prefer_huge_pages
from anerf.field.native import LINE, checked_in_place


@dataclass(frozen=True)
class TouchedGradient:
    """`values` as long as the table; `marks` one byte for each `LINE` floats."""

    values: Float[Tensor, " g"]
    marks: UInt8[Tensor, " l"]

    @staticmethod
    def of(table: Float[Tensor, " g"]) -> "TouchedGradient":
        """A clean gradient for a table, whose length is a multiple of `LINE` in every layout."""
        values = torch.zeros_like(table, requires_grad=False)
        prefer_huge_pages(table, values)
        return TouchedGradient(values, torch.zeros(table.numel() // LINE, dtype=torch.uint8))

    def check(self, n_params: int) -> None:
        """Make sure that kernels may write the gradient of a table of `n_params` floats.

        Raises:
            BackendError: another size or type, each named.
        """
        checked_in_place("touched.values", self.values, (n_params,))
        checked_in_place("touched.marks", self.marks, (n_params // LINE,), torch.uint8)

    def lines(self) -> Int64[Tensor, " t"]:
        """Numbers of the touched lines."""
        return self.marks.nonzero()[:, 0]

    def dense(self) -> Float[Tensor, " g"]:
        """A copy of the whole gradient, for those who need every value."""
        return self.values.clone()

    def clear(self) -> None:
        """Forget everything, visiting touched lines only."""
        lines = self.lines()
        self.values.view(-1, LINE)[lines] = 0
        self.marks[lines] = 0


class UndoLog:
    """What a table's lines held before an inner loop changed them: cheaper than copying the table."""

    def __init__(self, table: Float[Tensor, " g"]) -> None:
        self._rows = table.detach().view(-1, LINE)
        self._known = torch.zeros(len(self._rows), dtype=torch.bool)
        self._lines: list[Tensor] = []
        self._saved: list[Tensor] = []

    def remember(self, lines: Int64[Tensor, " t"]) -> None:
        """Keep these lines as they are now, unless they are known from before."""
        fresh = lines[~self._known[lines]]
        self._known[fresh] = True
        self._lines.append(fresh)
        self._saved.append(self._rows[fresh])

    def changes(self) -> tuple[Int64[Tensor, " t"], Float[Tensor, "t 8"]]:
        """All remembered lines and how far they have moved: old minus present values."""
        lines, saved = self._all()
        return lines, saved - self._rows[lines]

    def restore(self) -> None:
        """Put everything back."""
        lines, saved = self._all()
        self._rows[lines] = saved
        self._known[lines] = False
        self._lines, self._saved = [], []

    def _all(self) -> tuple[Tensor, Tensor]:
        if not self._lines:
            return torch.empty(0, dtype=torch.int64), torch.empty(0, LINE)
        return torch.cat(self._lines), torch.cat(self._saved)
