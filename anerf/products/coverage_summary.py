"""How much each expert of a partition sees: photographs and pixels by split, shares and imbalance."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from anerf.errors import PartitionError
from anerf.partition.regions import Partition, load_coverage, load_partition
from anerf.scene.scene import Scene

LEARNED_SPLIT = "train"


@dataclass(frozen=True)
class Seen:
    """What one expert sees of one split."""

    photographs: int
    pixels: int


@dataclass(frozen=True)
class ExpertCoverage:
    """What one expert sees of each split, with the partition's margin."""

    by_split: Mapping[str, Seen]
    share: float | None
    """Its part of all that the experts see of `train`."""
    own_share: float | None
    """Its part of the pixels of `train`, each counted for the nearest expert alone."""


@dataclass(frozen=True, eq=False)
class PartitionCoverage:
    """A partition and what its experts see, in their order."""

    partition: Partition
    experts: tuple[ExpertCoverage, ...]
    imbalance: float | None
    """Pixels of `train` that the busiest expert sees, by the mean of all experts: 1 is even."""
    unseen: Mapping[str, int]
    """By split, how many photographs no expert sees, where there are any."""
    later: tuple[str, ...]
    """Splits without any coverage: they came after the partition was made."""


def partition_coverage(scene: Scene, name: str) -> PartitionCoverage:
    """Reads a partition and its coverage; PartitionError says what is missing or wrong."""
    partition = load_partition(scene, name)
    coverage = load_coverage(scene, name)
    ids, experts, pixels = coverage.frame_id, coverage.expert, coverage.pixels
    split_of = {frame.id: frame.split for frame in scene.frames}
    strangers = set(ids.tolist()) - set(split_of)
    if strangers or (len(experts) and not 0 <= experts.min() <= experts.max() < partition.n_experts):
        raise PartitionError(
            f"the coverage of partition {name} names photographs or experts that {scene.root} does not have; "
            "make it again with anerf partition --overwrite"
        )
    counts: list[Counter[str]] = [Counter() for _ in range(partition.n_experts)]
    sums: list[Counter[str]] = [Counter() for _ in range(partition.n_experts)]
    for frame, expert, count in zip(ids.tolist(), experts.tolist(), pixels.tolist(), strict=True):
        counts[expert][split_of[frame]] += 1
        sums[expert][split_of[frame]] += count
    learned = np.array([of_expert[LEARNED_SPLIT] for of_expert in sums], dtype=np.float64)
    total = learned.sum()
    of_train = np.isin(ids, [frame.id for frame in scene.frames if frame.split == LEARNED_SPLIT])
    own = np.bincount(experts[of_train], coverage.own_pixels[of_train], partition.n_experts)
    seen_ids = set(ids.tolist())
    unseen = Counter(frame.split for frame in scene.frames if frame.id not in seen_ids)
    later = tuple(split for split in scene.splits() if unseen[split] == len(scene.frames_of(split)))
    return PartitionCoverage(
        partition,
        tuple(
            ExpertCoverage(
                {split: Seen(counts[i][split], sums[i][split]) for split in scene.splits()},
                float(learned[i] / total) if total else None,
                float(own[i] / own.sum()) if own.any() else None,
            )
            for i in range(partition.n_experts)
        ),
        float(learned.max() / learned.mean()) if total else None,
        {split: unseen[split] for split in scene.splits() if unseen[split] and split not in later},
        later,
    )
