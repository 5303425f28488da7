"""Who answers for a sample: experts, their places, and samples handed out to them."""

from dataclasses import dataclass

from jaxtyping import Float, Int32
from torch import Tensor

MIN_WEIGHT = 1e-3  # of an expert in a blend; less is not worth a query


@dataclass(frozen=True)
class Router:
    """Experts in the learning frame: `cubes` are the low corners and sides of their fields' unit cubes.

    With `only`, that expert alone answers, with the weight that it has among all.
    """

    centroids: Float[Tensor, "e 3"]
    cubes: Float[Tensor, "e 4"]
    dims: int
    margin: float
    only: int | None = None


@dataclass(frozen=True)
class Answer:
    """The samples that one expert answers for: their numbers, rays, weights and places in its unit cube."""

    expert: int
    sample: Int32[Tensor, " m"]
    ray_index: Int32[Tensor, " m"]
    weight: Float[Tensor, " m"]
    x: Float[Tensor, "m 3"]


@dataclass(frozen=True)
class Answered:
    """An expert's field at the samples that it answers for."""

    answer: Answer
    rgb: Float[Tensor, "m 3"]
    sigma: Float[Tensor, " m"]
