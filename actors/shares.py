"""How a job's experts are dealt out to processes, and what each process may use of the cluster."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import ray

LEARNING_SHARE = 0.8  # of what is free; the rest serves and scores pictures meanwhile
LEAST_CPUS = 0.01
Placement = Literal["spread", "pack"]


def groups_of(experts: Sequence[int], per_actor: int) -> tuple[tuple[int, ...], ...]:
    """Experts in their order, so many together; the last group may be smaller."""
    return tuple(tuple(experts[i : i + per_actor]) for i in range(0, len(experts), per_actor))


@dataclass(frozen=True)
class Machine:
    """A node of the cluster: its cores, its GPUs, and how much of each is free, as shares of 1."""

    cpus: float
    gpus: int = 0
    free_cpus: float = 1.0
    free_gpus: float = 1.0


def machines() -> list[Machine]:
    """The nodes that live, taken to be equally busy: Ray tells what is free of all of them together."""
    total, free = ray.cluster_resources(), ray.available_resources()
    shares = {name: free.get(name, 0.0) / total[name] for name in ("CPU", "GPU") if total.get(name)}
    return [
        Machine(
            node["Resources"].get("CPU", 0.0),
            int(node["Resources"].get("GPU", 0.0)),
            shares.get("CPU", 0.0),
            shares.get("GPU", 0.0),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def n_at_once(n: int, cpus: float | None = None) -> int:
    """Processes of one thread each for `n` pieces of work: one a core of `cpus`, or of all that Ray has.

    The machine may have more cores than Ray, or its container, was given.
    """
    cores = ray.cluster_resources().get("CPU", 1.0) if cpus is None else cpus
    return max(1, min(math.floor(cores), n))


def living_nodes() -> set[str]:
    """The ids of the machines that live."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def packed(among: Sequence[Machine], n_experts: int) -> list[Machine]:
    """The fewest machines with a core for every expert, those with most GPUs and cores first."""
    chosen: list[Machine] = []
    for machine in sorted(among, key=lambda m: (m.gpus, m.cpus), reverse=True):
        if sum(m.cpus for m in chosen) >= n_experts:
            break
        chosen.append(machine)
    return chosen


def with_gpus(among: Sequence[Machine], at_most: int) -> list[Machine]:
    """The machines with so many of their GPUs at most, those of the machines with most of them first."""
    kept: list[Machine] = []
    for machine in sorted(among, key=lambda m: m.gpus, reverse=True):
        n = min(machine.gpus, at_most - sum(m.gpus for m in kept))
        kept.append(replace(machine, gpus=n))
    return kept


@dataclass(frozen=True)
class Shares:
    """What an actor asks Ray for, and the threads of each of its experts.

    Actors share equally what is free when the job starts, or what the job asks for of it. Threads go by
    experts, so that what an expert learns does not depend on who lives beside it: sums over more threads may
    be added up in another order.
    """

    threads: int
    cpus: float
    gpus: float

    @classmethod
    def divided(
        cls,
        among: Sequence[Machine],
        n_experts: int,
        n_actors: int,
        most_cpus: float | None = None,
        most_gpus: float | None = None,
    ) -> Self:
        """The largest shares with which all actors find room: none is divided between machines, or GPUs.

        `most_cpus` and `most_gpus` are what the job asks for, of which no more is taken, all actors together.
        An expert has a thread at least.
        """
        total_cpus, cpu_share, most_each = sum(m.cpus for m in among), LEARNING_SHARE, math.inf
        if most_cpus is not None:  # whoever says how much leaves the rest anyway
            total_cpus, cpu_share, most_each = min(total_cpus, most_cpus), 1.0, most_cpus / max(n_actors, 1)
        threads = max(1, math.floor(total_cpus / max(n_experts, 1)))
        if most_gpus is not None:
            among = with_gpus(among, math.ceil(most_gpus))
        of_gpus = [LEARNING_SHARE * m.free_gpus for m in among for _ in range(m.gpus)]
        gpus = largest_share(of_gpus, n_actors)
        gpus = _hundredths(gpus if most_gpus is None else min(gpus, most_gpus / max(n_actors, 1)))
        if gpus == 0:
            cpus = largest_share([cpu_share * m.cpus * m.free_cpus for m in among], n_actors)
        else:  # a machine has cores for as many actors as its GPUs have room for
            room = [(m, m.gpus * _times(gpus, LEARNING_SHARE * m.free_gpus)) for m in among]
            cpus = min(cpu_share * m.cpus * m.free_cpus / n for m, n in room if n > 0)
        return cls(threads, max(LEAST_CPUS, _hundredths(min(cpus, most_each))), gpus)

    def options(self, group: Sequence[int]) -> dict[str, Any]:
        """Ray's options for a group's actor: no more cores than threads, a call of each expert at a time."""
        return {
            "num_cpus": min(self.cpus, float(self.threads * len(group))),
            "num_gpus": self.gpus,
            "max_concurrency": len(group),
        }


def largest_share(of: Sequence[float], n: int) -> float:
    """The largest share that can be taken `n` times from pieces of these sizes; 0 where there are none."""
    sizes = sorted({size for size in of if size > 0})
    shares = sorted({size / k for size in sizes for k in range(1, n + 1)}, reverse=True)
    low, high = 0, len(shares) - 1  # smaller shares find room more often
    while low < high:
        middle = (low + high) // 2
        if sum(_times(shares[middle], size) for size in of) >= n:
            high = middle
        else:
            low = middle + 1
    return shares[low] if shares else 0.0


def _times(share: float, size: float) -> int:
    return math.floor(size / share + 1e-9)


def _hundredths(share: float) -> float:
    return math.floor(100 * share + 1e-9) / 100
