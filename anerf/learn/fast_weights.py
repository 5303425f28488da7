"""Parameters that an inner loop moves and an outer step forgets again.

On our kernels the networks are copied but the table is moved in place, and put back from a log of the lines
that moved: a table of millions of values is never copied for a few thousand that change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from anerf.errors import BackendError
from anerf.field.params import NAMES, FieldParams
from anerf.field.touched import LINE, TouchedGradient, UndoLog
from anerf.learn.optimiser import Moments, adam_delta, sgd_touched, step_touched

NETWORKS = ("sigma_mlp", "color_mlp")


@dataclass(frozen=True)
class InnerRule:
    """How an inner loop moves its weights.

    `fast` says which: `all`, or `mlp` for the networks alone (as ANIL keeps the body, Raghu et al. 2020).
    `optimizer` is `sgd` or `adam`, which starts anew with every task. Rates are those of the table and of
    both networks, unless they are learned.
    """

    fast: str
    optimizer: str
    grid: float
    networks: float

    @property
    def names(self) -> tuple[str, ...]:
        """The vectors that move."""
        return NAMES if self.fast == "all" else NETWORKS

    def log_rates(self) -> Float[Tensor, " 3"]:
        """Logarithms of the rates of `NAMES`, where learning them begins."""
        return torch.tensor([self.grid, self.networks, self.networks]).log()


class FastWeights:
    """Fast weights that start from a state's parameters; a context that leaves these as they were.

    `params` are what an inner loss is taken under. With `touched` gradients they are used for one loss at a
    time: `step` takes the table's gradient from there. `log_rates` are learned rates of `NAMES` (Meta-SGD, Li
    et al. 2017, one for each group of parameters) instead of the rule's.
    """

    def __init__(
        self,
        slow: FieldParams,
        rule: InnerRule,
        scratch: TouchedGradient | None = None,
        table_moments: Moments | None = None,
        log_rates: Float[Tensor, " 3"] | None = None,
        second_order: bool = False,
    ) -> None:
        self._slow = slow
        self._rule = rule
        self._scratch = scratch
        self._table_moments = table_moments
        self._second_order = second_order
        rates: Sequence[float | Tensor] = (rule.grid, rule.networks, rule.networks)
        if log_rates is not None:
            rates = list(log_rates.exp()) if second_order else log_rates.exp().tolist()
        self._rate = dict[str, float | Tensor](zip(NAMES, rates, strict=True))
        self._moments: dict[str, Moments] = {}
        self._undo: UndoLog | None = None
        on_kernels = slow.touched is not None
        if on_kernels and second_order:
            raise BackendError("fast weights on the cpu backend are first order")
        if second_order:
            self.params = slow
        elif "grid" not in rule.names:
            self.params = replace(self._copies(), grid=slow.grid.detach())
        elif on_kernels:
            if scratch is None or (rule.optimizer == "adam" and table_moments is None):
                raise BackendError(
                    "fast weights on the cpu backend need a scratch gradient, and adam moments"
                )
            self._undo = UndoLog(slow.grid)
            self.params = replace(self._copies(), grid=slow.grid, touched=scratch)
        else:
            self.params = slow.detached()

    def _copies(self) -> FieldParams:
        networks = (t.detach().clone().requires_grad_() for t in (self._slow.sigma_mlp, self._slow.color_mlp))
        return FieldParams(self._slow.grid, *networks)

    def __enter__(self) -> Self:
        """Nothing happens until a step."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the table back."""
        if self._undo is None or self._scratch is None:
            return
        if self._table_moments is not None:
            lines, _ = self._undo.changes()
            self._table_moments.first.view(-1, LINE)[lines] = 0
            self._table_moments.second.view(-1, LINE)[lines] = 0
            self._table_moments.steps = 0
        self._undo.restore()
        self._scratch.clear()

    def step(self, loss: Float[Tensor, ""]) -> None:
        """One step of the rule; by `sgd`, `phi <- phi - rate grad L(phi)`."""
        named = {n: t for n, t in self.params.items() if n in self._by_autograd()}
        grads = torch.autograd.grad(loss, list(named.values()), create_graph=self._second_order)
        moved = {
            name: tensor - self._delta(name, grad)
            for (name, tensor), grad in zip(named.items(), grads, strict=True)
        }
        if not self._second_order:
            moved = {name: tensor.detach().requires_grad_() for name, tensor in moved.items()}
        if self._undo is not None and self._scratch is not None:
            self._undo.remember(self._scratch.lines())
            self._step_table(self._scratch, float(self._rate["grid"]))
        self.params = replace(self.params, **moved)

    def _by_autograd(self) -> tuple[str, ...]:
        return self._rule.names if self._undo is None else NETWORKS

    def _delta(self, name: str, grad: Tensor) -> Tensor:
        if self._rule.optimizer == "sgd":
            return self._rate[name] * grad
        moments = self._moments.setdefault(name, Moments.zeros_like(grad))
        steps = moments.steps + 1
        first, second, delta = adam_delta(grad, moments.first, moments.second, steps, float(self._rate[name]))
        self._moments[name] = Moments(first, second, steps)
        return delta

    def _step_table(self, scratch: TouchedGradient, rate: float) -> None:
        if self._rule.optimizer == "sgd":
            sgd_touched(self._slow.grid, scratch, rate)
        else:
            assert self._table_moments is not None
            step_touched("adam", self._slow.grid, scratch, self._table_moments, rate)

    def for_query(self) -> FieldParams:
        """The same parameters, whose table gradient goes where the slow one's goes."""
        grid = self.params.grid if "grid" in self._rule.names else self._slow.grid
        return replace(self.params, grid=grid, touched=self._slow.touched)

    @torch.no_grad()
    def way_back(self, scale: float) -> dict[str, Tensor]:
        """`scale * (slow - fast) / rate` of what is fast, by name.

        The table's goes into the slow `touched` where that is there.
        """
        if self._undo is not None:
            assert self._slow.touched is not None
            lines, moved = self._undo.changes()
            self._slow.touched.values.view(-1, LINE)[lines] += moved * (scale / self._rate["grid"])
            self._slow.touched.marks[lines] = 1
        fast, slow = dict(self.params.items()), dict(self._slow.items())
        return {
            name: (slow[name].detach() - fast[name].detach()) * (scale / self._rate[name])
            for name in self._by_autograd()
        }

    def table_gradient(self) -> Float[Tensor, "t 8"] | None:
        """The slow `touched` gradient on the lines that moved, as it is now; None where autograd has it."""
        if self._undo is None or self._slow.touched is None:
            return None
        lines, _ = self._undo.changes()
        return self._slow.touched.values.view(-1, LINE)[lines]

    @torch.no_grad()
    def rate_gradient(
        self, grads: Mapping[str, Tensor], table_before: Float[Tensor, "t 8"] | None
    ) -> Float[Tensor, " 3"]:
        """First-order gradient of a query loss by the logarithm of each rate: `<grad L(phi), phi - theta>`.

        Args:
            grads: the loss' gradients at the fast weights, by name.
            table_before: `table_gradient` as it was before this loss.
        """
        fast, slow = dict(self.params.items()), dict(self._slow.items())
        by_name: dict[str, float] = dict.fromkeys(NAMES, 0.0)
        for name in self._by_autograd():
            by_name[name] = float((grads[name] * (fast[name].detach() - slow[name].detach())).sum())
        after = self.table_gradient()
        if self._undo is not None and after is not None and table_before is not None:
            _, moved = self._undo.changes()
            by_name["grid"] = -float(((after - table_before) * moved).sum())
        return torch.tensor(list(by_name.values())).to(self._slow.grid)
