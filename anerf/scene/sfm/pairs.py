"""Which photographs are compared: those that were taken near each other.

All pairs of 10,000 photographs are 50 million; a drone's photograph overlaps with a few dozen.
"""

import numpy as np
from jaxtyping import Float

from anerf.errors import InputError

EXHAUSTIVE_BELOW = 60
_WITHOUT_GPS = 400


def pairs_among(places: Float[np.ndarray, "n 2"] | None, n: int, neighbours: int) -> list[tuple[int, int]]:
    """Pairs i < j of `n` photographs: all of few, else each with its nearest `neighbours` on the map.

    `places` are metres east and north, NaN where unknown; photographs without a place are paired with those
    next to them in their order. InputError for many photographs without any place.
    """
    if n < EXHAUSTIVE_BELOW:
        return [(i, j) for i in range(n) for j in range(i + 1, n)]
    known = np.zeros(n, bool) if places is None else np.isfinite(places).all(axis=1)
    if not known.any():
        if n > _WITHOUT_GPS:
            raise InputError(
                f"{n} photographs without GPS are too many to compare each with each ({_WITHOUT_GPS} at "
                "most); give their positions in gps.csv"
            )
        return [(i, j) for i in range(n) for j in range(i + 1, n)]
    pairs: set[tuple[int, int]] = set()
    if places is not None:
        positions = np.flatnonzero(known)
        for i in positions:
            pairs |= {
                (min(i, j), max(i, j))
                for j in _nearest(places[i], places, positions, neighbours + 1)
                if j != i
            }
    for i in np.flatnonzero(~known):
        near = range(max(0, int(i) - neighbours // 2), min(n, int(i) + neighbours // 2 + 1))
        pairs |= {(min(int(i), j), max(int(i), j)) for j in near if j != i}
    return sorted((int(i), int(j)) for i, j in pairs)


def pairs_between(
    new: Float[np.ndarray, "n 2"], old: Float[np.ndarray, "m 2"], neighbours: int
) -> list[tuple[int, int]]:
    """Pairs (new, old): each new photograph with its nearest old ones; with all where its place is NaN."""
    everything = np.arange(len(old))
    return [
        (i, int(j))
        for i, place in enumerate(new)
        for j in (_nearest(place, old, everything, neighbours) if np.isfinite(place).all() else everything)
    ]


def _nearest(
    place: Float[np.ndarray, "2"], places: Float[np.ndarray, "n 2"], among: np.ndarray, count: int
) -> np.ndarray:
    squared = ((places[among] - place) ** 2).sum(axis=1)
    count = min(count, len(among))
    return among[np.argpartition(squared, count - 1)[:count]]
