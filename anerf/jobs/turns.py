"""Whose turn it is: which queued jobs start beside those that run, which wait for what, and who makes room.

Higher priority first, then who came first. A job that finds no room is waited for: nobody who comes after it
starts before it, so a large job is not starved by small ones. (One that the whole cluster could not hold is
not: machines may never join.) Where it would find room if trainings of lower priority were not there, these
are asked to make it: they go on from their checkpoint later.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from anerf.jobs.spec import Job, TrainJob, ViewJob

VIEW_LIMIT = 2
"""View jobs at a time."""
_SHOWN = 3


@dataclass(frozen=True)
class Resources:
    """What a cluster has or a job asks for."""

    cpus: float = 0.0
    gpus: float = 0.0
    memory_gib: float = 0.0

    def plus(self, other: "Resources") -> "Resources":
        """The sum."""
        return Resources(self.cpus + other.cpus, self.gpus + other.gpus, self.memory_gib + other.memory_gib)

    def minus(self, other: "Resources") -> "Resources":
        """What is left, never below nothing."""
        return Resources(
            max(0.0, self.cpus - other.cpus),
            max(0.0, self.gpus - other.gpus),
            max(0.0, self.memory_gib - other.memory_gib),
        )

    def lack(self, wanted: "Resources") -> str | None:
        """The first thing of which there is too little for `wanted`, in words; None: there is enough."""
        for name, has, wants in (
            ("CPUs", self.cpus, wanted.cpus),
            ("GPUs", self.gpus, wanted.gpus),
            ("GiB of memory", self.memory_gib, wanted.memory_gib),
        ):
            if wants > has + 1e-9:
                return f"{wants:g} {name}, of which {has:g} are free"
        return None


@dataclass(frozen=True)
class Turn:
    """What matters of a job when turns are given."""

    job_id: str
    is_view: bool
    priority: int
    demand: Resources
    can_make_room: bool = False
    """Whether it goes on where it was after it was stopped."""


@dataclass(frozen=True)
class Turns:
    """Who starts now, in order; why each of the others waits; and who is asked to make room for whom."""

    start: tuple[str, ...]
    waiting: Mapping[str, str]
    make_room: Mapping[str, str]
    """The job that the room is for, by the job that makes it."""
    beyond: Resources | None = None
    """What the first of those asks for that the whole cluster could not hold; None: there is no such job."""


def turn_of(job: Job, total: Resources) -> Turn:
    """A job's turn in a cluster that has `total`; what a learning job does not name, it takes all of.

    All of nothing is a core: where no machine with CPUs has joined yet, it waits for one, as it would keep
    for its whole run what it began with.
    """
    if isinstance(job, ViewJob):
        return Turn(job.job_id, True, job.priority, Resources())
    demand = Resources(
        (total.cpus or 1.0) if job.cpus is None else job.cpus,
        total.gpus if job.gpus is None else job.gpus,
        0.0 if job.memory_gib is None else job.memory_gib,
    )
    return Turn(job.job_id, False, job.priority, demand, isinstance(job, TrainJob))


def give_turns(
    queued: Sequence[Turn], running: Sequence[Turn], total: Resources, stopping: Collection[str] = ()
) -> Turns:
    """Give turns.

    Args:
        queued: Jobs that may start, in the order in which they came.
        running: Jobs that run.
        total: What the cluster has.
        stopping: Those of the running that have been asked to end.
    """
    start: list[str] = []
    waiting: dict[str, str] = {}
    make_room: dict[str, str] = {}
    beyond: Resources | None = None
    beside = list(running)
    someone_waits = False
    for turn in sorted(queued, key=lambda t: -t.priority):  # sorting keeps the order of equals
        reason, is_beyond = None, False
        if turn.is_view:
            views = [t.job_id for t in beside if t.is_view]
            if len(views) >= VIEW_LIMIT:
                reason = f"until {_any_of(views)} has ended ({VIEW_LIMIT} views at a time)"
        elif someone_waits:
            # The same for all of them and for long: every change of a reason is written down.
            reason = "until those before it have started"
        elif (lacks := total.lack(turn.demand)) is not None:
            reason = f"for {lacks.replace('are free', 'the cluster has')}: until machines join it"
            is_beyond, beyond = True, beyond or turn.demand
        else:
            learning = [t for t in beside if not t.is_view]
            reason = _no_room(turn, learning, total)
            if reason is not None:
                make_room = {t.job_id: turn.job_id for t in _who_makes_room(turn, learning, total)}
        if reason is None:
            start.append(turn.job_id)
            beside.append(turn)
        else:
            waiting[turn.job_id] = reason
            someone_waits |= not turn.is_view and not is_beyond
    asked = {job_id: of for job_id, of in make_room.items() if job_id not in stopping}
    return Turns(tuple(start), waiting, asked, beyond)


def _free(learning: Sequence[Turn], total: Resources) -> Resources:
    taken = Resources()
    for turn in learning:
        taken = taken.plus(turn.demand)
    return total.minus(taken)


def _no_room(turn: Turn, learning: Sequence[Turn], total: Resources) -> str | None:
    lacks = _free(learning, total).lack(turn.demand)
    if lacks is None:
        return None
    return f"for {lacks}: until {_any_of([t.job_id for t in learning])} has ended"


def _who_makes_room(turn: Turn, learning: Sequence[Turn], total: Resources) -> list[Turn]:
    """Trainings of lower priority without which there is room, the lowest and latest first; none if never."""
    able = [t for t in reversed(learning) if t.can_make_room and t.priority < turn.priority]
    leaving: list[Turn] = []
    for candidate in sorted(able, key=lambda t: t.priority):
        leaving.append(candidate)
        staying = [t for t in learning if t not in leaving]
        if _free(staying, total).lack(turn.demand) is None:
            return leaving
    return []


def _any_of(jobs: Sequence[str]) -> str:
    more = f" or {len(jobs) - _SHOWN} others" if len(jobs) > _SHOWN else ""
    return " or ".join(jobs[:_SHOWN]) + more
