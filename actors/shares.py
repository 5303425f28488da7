"""How a job's experts are dealt out to processes, and what each process may use of the cluster."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Shares:
    """What an actor asks Ray for, and the threads of each of its experts.

    Actors share equally what is free when the job starts. Threads go by experts, so that what an expert
    learns does not depend on who lives beside it: sums over more threads may be added up in another order.
    """

    threads: int
    cpus: float
    gpus: float

    @classmethod
    def divided(cls, among: Sequence[Machine], n_experts: int, n_actors: int) -> Self:
        """The largest shares with which all actors find room: none is divided between machines, or GPUs."""
        threads = max(1, math.floor(sum(m.cpus for m in among) / max(n_experts, 1)))
        of_gpus = [LEARNING_SHARE * m.free_gpus for m in among for _ in range(m.gpus)]
        gpus = _hundredths(largest_share(of_gpus, n_actors))
        if gpus == 0:
            cpus = largest_share([LEARNING_SHARE * m.cpus * m.free_cpus for m in among], n_actors)
        else:  # a machine has cores for as many actors as its GPUs have room for
            room = [(m, m.gpus * _times(gpus, LEARNING_SHARE * m.free_gpus)) for m in among]
            cpus = min(LEARNING_SHARE * m.cpus * m.free_cpus / n for m, n in room if n > 0)
        return cls(threads, max(LEAST_CPUS, _hundredths(cpus)), gpus)

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
