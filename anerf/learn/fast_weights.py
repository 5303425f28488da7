"""Parameters that an inner loop moves and an outer step forgets again.

On our kernels the networks are copied but the table is moved in place, and put back from a log of the lines
that moved: a table of millions of values is never copied for a few thousand that change.
"""

from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from anerf.errors import BackendError
from anerf.field.params import FieldParams
from anerf.field.touched import LINE, TouchedGradient, UndoLog
from anerf.learn.optimiser import sgd_touched


class FastWeights:
    """Fast weights that start from a state's parameters; a context that leaves these as they were.

    `params` are what an inner loss is taken under. With `touched` gradients they are used for one loss at a
    time: `step` takes the table's gradient from there.
    """

    def __init__(
        self, slow: FieldParams, scratch: TouchedGradient | None, second_order: bool = False
    ) -> None:
        self._slow = slow
        self._scratch = scratch
        self._second_order = second_order
        self._undo: UndoLog | None = None
        if slow.touched is None:
            self.params = slow if second_order else slow.detached()
        else:
            if second_order or scratch is None:
                raise BackendError("fast weights on the cpu backend need a scratch gradient and first order")
            self._undo = UndoLog(slow.grid)
            networks = (t.detach().clone().requires_grad_() for t in (slow.sigma_mlp, slow.color_mlp))
            self.params = FieldParams(slow.grid, *networks, touched=scratch)

    def __enter__(self) -> Self:
        """Nothing happens until a step."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the table back."""
        if self._undo is not None and self._scratch is not None:
            self._undo.restore()
            self._scratch.clear()

    def step(self, loss: Tensor, rate: float) -> None:
        """One SGD step: `phi <- phi - rate grad L(phi)`."""
        if self._undo is None or self._scratch is None:
            grads = torch.autograd.grad(loss, self.params.tensors(), create_graph=self._second_order)
            stepped = [p - rate * g for p, g in zip(self.params.tensors(), grads, strict=True)]
            self.params = FieldParams(*stepped) if self._second_order else FieldParams(*stepped).detached()
            return
        networks = (self.params.sigma_mlp, self.params.color_mlp)
        grads = torch.autograd.grad(loss, networks)
        stepped = [(p - rate * g).detach().requires_grad_() for p, g in zip(networks, grads, strict=True)]
        self._undo.remember(self._scratch.lines())
        sgd_touched(self._slow.grid, self._scratch, rate)
        self.params = FieldParams(self._slow.grid, *stepped, touched=self._scratch)

    def for_query(self) -> FieldParams:
        """The same parameters, whose table gradient goes where the slow one's goes."""
        grid, sigma_mlp, color_mlp = self.params.tensors()
        return FieldParams(grid, sigma_mlp, color_mlp, touched=self._slow.touched)

    @torch.no_grad()
    def way_back(self, scale: float) -> dict[str, Tensor]:
        """`scale * (slow - fast)` by name; the table's goes into the slow `touched` where that is there."""
        fast = dict(self.params.items())
        if self._undo is None:
            return {name: (slow.detach() - fast[name].detach()) * scale for name, slow in self._slow.items()}
        assert self._slow.touched is not None
        lines, moved = self._undo.changes()
        self._slow.touched.values.view(-1, LINE)[lines] += moved * scale
        self._slow.touched.marks[lines] = 1
        networks = (("sigma_mlp", self._slow.sigma_mlp), ("color_mlp", self._slow.color_mlp))
        return {name: (slow.detach() - fast[name].detach()) * scale for name, slow in networks}
