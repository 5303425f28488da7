"""What people ask of a running job, as its run finds it between two rounds. Knows no Ray.

A job that goes on after a pause, or step by step, ends with the same bits as one that nobody touched: where a
round ends does not change what is learned.
"""

import math
import threading
from dataclasses import dataclass

from anerf.errors import JobError

MOST_STEPS = 1_000_000_000
MOST_RATE = 100.0


@dataclass(frozen=True)
class Pause:
    """Stop learning after the current round, and wait. The job keeps its processes and its cores."""


@dataclass(frozen=True)
class Resume:
    """Go on."""


@dataclass(frozen=True)
class Step:
    """Do so many steps more, and wait then; asked again before that, the numbers add up.

    Raises:
        JobError: it is not a number of steps.
    """

    n: int = 1

    def __post_init__(self) -> None:
        _check_steps("step", self.n)


@dataclass(frozen=True)
class Stop:
    """End well: measure, keep a checkpoint of the step reached, succeed. What is not learned yet is left."""


@dataclass(frozen=True)
class Save:
    """Write a checkpoint now; learning goes on, or the pause does."""


@dataclass(frozen=True)
class Reset:
    """Back to the checkpoint that the adaptation began with. Changed rates stay changed."""


@dataclass(frozen=True)
class Change:
    """Other settings from the next step on; None leaves one as it is. For adaptations.

    `of_steps` is the whole number of steps, those done included; at or below these it ends the adaptation.

    Raises:
        JobError: a value is out of its limits.
    """

    of_steps: int | None = None
    encoding_lr: float | None = None
    sigma_lr: float | None = None
    color_lr: float | None = None

    def __post_init__(self) -> None:
        if self.of_steps is not None:
            _check_steps("of_steps", self.of_steps)
        for name in ("encoding_lr", "sigma_lr", "color_lr"):
            rate = getattr(self, name)
            if rate is not None and not (math.isfinite(rate) and 0 < rate <= MOST_RATE):
                raise JobError(f"`{name}` is {rate}, give a learning rate above 0, at most {MOST_RATE:g}")

    def over(self, earlier: "Change") -> "Change":
        """Both together: what this one leaves open is as the earlier one said."""
        return Change(
            earlier.of_steps if self.of_steps is None else self.of_steps,
            earlier.encoding_lr if self.encoding_lr is None else self.encoding_lr,
            earlier.sigma_lr if self.sigma_lr is None else self.sigma_lr,
            earlier.color_lr if self.color_lr is None else self.color_lr,
        )


Wish = Pause | Resume | Step | Stop | Save | Reset | Change


def _check_steps(name: str, value: int) -> None:
    if isinstance(value, bool) or not 1 <= value <= MOST_STEPS:
        raise JobError(f"`{name}` is {value}, give a whole number of steps from 1 to {MOST_STEPS:,}")


@dataclass(frozen=True)
class Wishes:
    """What is to be done once, before the next round."""

    save: bool = False
    reset: bool = False
    change: Change | None = None


class Steering:
    """Keeps wishes until the run takes them. Safe for threads: people on one side, the run on the other.

    A wish is taken between two rounds, so within a second or two of learning; not while the run loads or
    measures.
    """

    def __init__(self, adapts: bool) -> None:
        """Of an adaptation (`adapts`) or of a training."""
        self._adapts = adapts
        self._changed = threading.Condition()
        self._left: int | None = None  # steps until the pause; None: as many as there are
        self._cancelled = False
        self._stopping = False
        self._wishes = Wishes()

    def take_in(self, wish: Wish) -> None:
        """Remember a wish.

        Raises:
            JobError: it is not for this kind of job.
        """
        if isinstance(wish, Reset | Change) and not self._adapts:
            what = "be reset" if isinstance(wish, Reset) else "change its rates or steps"
            raise JobError(f"a training cannot {what}: stop it, and start another from its checkpoint")
        with self._changed:
            waiting = self._wishes
            match wish:
                case Pause():
                    self._left = 0
                case Resume():
                    self._left = None
                case Step(n):
                    self._left = (self._left or 0) + n
                case Stop():
                    self._stopping = True
                case Save():
                    self._wishes = Wishes(True, waiting.reset, waiting.change)
                case Reset():
                    self._wishes = Wishes(waiting.save, True, waiting.change)
                case Change():
                    change = wish if waiting.change is None else wish.over(waiting.change)
                    self._wishes = Wishes(waiting.save, waiting.reset, change)
            self._changed.notify_all()

    def cancel(self) -> None:
        """End the job at the next moment that allows it."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()

    def is_cancelled(self) -> bool:
        """Whether the job is to end without more ado."""
        return self._cancelled

    def is_stopping(self) -> bool:
        """Whether the job is to end well where it stands."""
        return self._stopping

    def take_wishes(self) -> Wishes:
        """What is to be done now; the next call has only what was asked after this one."""
        with self._changed:
            wishes, self._wishes = self._wishes, Wishes()
            return wishes

    def steps_allowed(self) -> int:
        """How many steps may be done now: 0 in a pause."""
        with self._changed:
            return MOST_STEPS if self._left is None else self._left

    def has_done(self, n: int) -> None:
        """That so many steps were done."""
        with self._changed:
            if self._left is not None:
                # A pause that came in the midst of a round has nothing to count.
                self._left = max(0, self._left - n)

    def wait(self, timeout_s: float) -> None:
        """In a pause: until something was asked, at most so long."""
        with self._changed:
            self._changed.wait_for(self._something_to_do, timeout_s)

    def _something_to_do(self) -> bool:
        return self._left != 0 or self._cancelled or self._stopping or self._wishes != Wishes()
