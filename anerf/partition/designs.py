"""Where the experts' centroids go: in a grid, in the middle of the content, or with equal shares of it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from anerf.errors import PartitionError
from anerf.geometry.boxes import Aabb
from anerf.partition.balance import MOST_IMBALANCE, balanced_centroids, imbalance
from anerf.partition.content import Content
from anerf.partition.kmeans import kmeans_centroids

Dims = Literal[2, 3]


@dataclass(frozen=True)
class Grid:
    """`nx` x `ny` equal boxes, from west to east, then northwards; with `nz` in layers, from below."""

    nx: int
    ny: int
    nz: int | None = None

    def __post_init__(self) -> None:
        """Refuses a grid without regions."""
        if min(self.counts) < 1:
            raise PartitionError(f"a {self.how} cannot be; give at least one region along each side")

    @property
    def counts(self) -> tuple[int, ...]:
        """Regions along each axis that is divided."""
        return (self.nx, self.ny) if self.nz is None else (self.nx, self.ny, self.nz)

    @property
    def dims(self) -> Dims:
        """3 with layers."""
        return 2 if self.nz is None else 3

    @property
    def label(self) -> str:
        """Such as `g22_grid`."""
        separator = "" if max(self.counts) < 10 else "x"
        return f"g{separator.join(str(count) for count in self.counts)}_grid"

    @property
    def how(self) -> str:
        """For people."""
        return f"grid {' x '.join(str(count) for count in self.counts)}"

    def centroids(self, box: Aabb) -> Float[np.ndarray, "e 3"]:
        """The middles of the boxes, ENU metres."""
        counts = (self.nx, self.ny, self.nz or 1)
        layer, row, column = (index.ravel() for index in np.indices((counts[2], counts[1], counts[0])))
        return np.array(box.lo) + np.array(box.size) * (np.stack((column, row, layer), axis=1) + 0.5) / counts


@dataclass(frozen=True)
class KMeans:
    """`n_experts` centroids in the middle of what their experts see (weighted k-means on the surfaces)."""

    n_experts: int
    dims: Dims = 2
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses a number that no partition can have."""
        _check(self.n_experts, self.dims)

    @property
    def label(self) -> str:
        """Such as `k8`."""
        return f"k{self.n_experts}{_depth(self.dims)}"

    @property
    def how(self) -> str:
        """For people."""
        return f"k-means {self.n_experts} on {_ground(self.dims)}, seed {self.seed}"

    def centroids(self, content: Content, box: Aabb) -> Float[np.ndarray, "e 3"]:
        """ENU metres; horizontal ones at the height of the box's middle."""
        _check_content(content, self.n_experts, self.dims)
        places = kmeans_centroids(content.xyz[:, : self.dims], content.pixels, self.n_experts, self.seed)
        return _raised(places, box)


@dataclass(frozen=True)
class Balanced:
    """`n_experts` centroids whose nearest surfaces are seen by about equally many pixels."""

    n_experts: int
    dims: Dims = 2

    def __post_init__(self) -> None:
        """Refuses a number that no partition can have."""
        _check(self.n_experts, self.dims)

    @property
    def label(self) -> str:
        """Such as `b8`."""
        return f"b{self.n_experts}{_depth(self.dims)}"

    @property
    def how(self) -> str:
        """For people."""
        return f"balanced {self.n_experts} on {_ground(self.dims)}"

    def centroids(self, content: Content, box: Aabb) -> Float[np.ndarray, "e 3"]:
        """ENU metres; horizontal ones at the height of the box's middle.

        PartitionError where shares cannot be evened out.
        """
        _check_content(content, self.n_experts, self.dims)
        places = balanced_centroids(content.xyz[:, : self.dims], content.pixels, self.n_experts)
        centroids = _raised(places, box)
        self.check(content.masses(centroids, self.dims))
        return centroids

    def check(self, pixels: Float[np.ndarray, " e"]) -> None:
        """PartitionError where these numbers of pixels are not balanced."""
        reached = imbalance(pixels)
        if not reached < MOST_IMBALANCE:
            raise PartitionError(
                f"the pixels of {self.n_experts} experts differ by {reached:.0%} at best, more than the "
                f"{MOST_IMBALANCE:.0%} of balanced ones; ask for fewer or use --kmeans {self.n_experts}"
            )


Design = Grid | KMeans | Balanced


def _check(n_experts: int, dims: int) -> None:
    if n_experts < 1 or dims not in (2, 3):
        raise PartitionError(
            f"{n_experts} experts in {dims} dimensions cannot be; give at least one, and 2 or 3 dimensions"
        )


def _check_content(content: Content, n_experts: int, dims: int) -> None:
    places = len(np.unique(content.xyz[:, :dims], axis=0))
    if places < n_experts:
        raise PartitionError(
            f"the photographs see {places} places, too few for {n_experts} experts; ask for fewer"
        )


def _depth(dims: int) -> str:
    return "_3d" if dims == 3 else ""


def _ground(dims: int) -> str:
    return "the ground plan" if dims == 2 else "surfaces in space"


def _raised(places: Float[np.ndarray, "e d"], box: Aabb) -> Float[np.ndarray, "e 3"]:
    if places.shape[1] == 3:
        return places
    return np.column_stack((places, np.full(len(places), box.center[2])))
