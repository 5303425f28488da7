"""Stopping before few new views are learned by heart: some photographs of the batch are only watched."""

import math

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from anerf.field.params import FieldParams

CHECK_STEPS = 25  # between two looks
PATIENCE = 4  # looks without a better error
ENOUGH_BETTER = 0.995
WATCHED_PERIOD = 8  # every eighth photograph is watched


def watched_tiles(frame: Int[Tensor, " t"]) -> Bool[Tensor, " t"]:
    """Which tiles (given their photographs) are only watched; none where there are fewer than five."""
    return torch.isin(frame, frame.unique()[WATCHED_PERIOD // 2 :: WATCHED_PERIOD])


class EarlyStop:
    """Keeps the best parameters seen so far and says when looking further is in vain."""

    def __init__(self) -> None:
        self._best = math.inf
        self._kept: tuple[Tensor, ...] = ()
        self._in_vain = 0
        self.stopped = False

    @torch.no_grad()
    def look(self, error: float, params: FieldParams) -> None:
        """Take note of the watched rays' error; when that has not fallen for long, go back to the best."""
        if error < ENOUGH_BETTER * self._best:
            self._best, self._in_vain = error, 0
            self._kept = tuple(tensor.detach().clone() for tensor in params.tensors())
            return
        self._in_vain += 1
        if self._in_vain >= PATIENCE:
            self.stopped = True
            for tensor, kept in zip(params.tensors(), self._kept, strict=True):
                tensor.copy_(kept)
