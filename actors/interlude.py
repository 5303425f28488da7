"""What happens between two rounds of a job: it is looked at, saved, paused, or told to end."""

from collections.abc import Callable
from dataclasses import dataclass

from actors.figures import FigureLog, State
from actors.offers import Offers, Weights
from actors.steering import Steering, Wishes
from anerf.jobs.events import Diary

POLL_S = 0.1  # in a pause: how soon somebody who begins to look sees something

Take = Callable[[], Weights | None]


@dataclass
class Interlude:
    """Brings a run together with those who steer it and look at it; used by the run's own thread."""

    steering: Steering
    offers: Offers
    figures: FigureLog
    events: Diary
    _paused: bool = False

    def show(self, step: int, take: Take) -> None:
        """Offer the weights of this step, if somebody looks."""
        self.offers.renew(step, take)

    def hold(self, step: int, take: Take, save: Callable[[], object]) -> Wishes:
        """Do what may be done here, and wait while the job is paused.

        Args:
            take: Gives the weights of this step, to be shown.
            save: Writes a checkpoint of this step.

        Returns:
            What the run has to do itself. It looks whether it is cancelled or stopped, too.
        """
        steering = self.steering
        while True:
            self.show(step, take)
            wishes = steering.take_wishes()
            if wishes.save and not steering.is_cancelled():
                self.enter("saving")
                save()
            paused = steering.steps_allowed() == 0
            if paused != self._paused:
                self._paused = paused
                self.events.append("log", message=f"{'paused' if paused else 'goes on'} at step {step}")
            self.enter("paused" if paused else "learning")
            must_act = wishes.reset or wishes.change is not None
            if not paused or must_act or steering.is_cancelled() or steering.is_stopping():
                return wishes
            steering.wait(POLL_S)

    def enter(self, state: State) -> None:
        """Tell those who look what the job does from now on."""
        self.figures.enter(state)
