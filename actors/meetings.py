"""What the experts were given together since their last checkpoint, for those who must do the steps again."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import ray


class Meetings:
    """Remembers means and common exposures, so that a restarted expert learns the same to the last bit."""

    def __init__(self) -> None:
        self._held: list[tuple[int, str, tuple[Any, ...]]] = []

    def note(self, step: int, method: str, *args: Any) -> None:
        """At `step` every expert was given something, by a method of its actor."""
        self._held.append((step, method, args))

    def forget(self) -> None:
        """A checkpoint of the step at which all stand exists now: restarted experts begin there."""
        self._held.clear()

    def repeat(self, actor: Any, expert: int, step: int, reached: int) -> None:
        """Bring an expert that was restarted at `step` back to where it was."""
        for met_at, method, args in self._held:
            if step <= met_at <= reached:
                if step < met_at:
                    ray.get(actor.advance.remote(expert, step, met_at))
                ray.get(getattr(actor, method).remote(expert, met_at, *args))
                step = met_at
        if step < reached:
            ray.get(actor.advance.remote(expert, step, reached))


def mean_of(copies: Mapping[int, np.ndarray | None]) -> np.ndarray | None:
    """The mean of the experts' copies of something; None where nobody has one."""
    found = [copy for _, copy in sorted(copies.items()) if copy is not None]
    return np.asarray(sum(found) / len(found), dtype=np.float32) if found else None
