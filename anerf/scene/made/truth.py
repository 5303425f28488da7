"""The made city's true geometry, for tests: where any ray first meets it."""

from functools import lru_cache

from jaxtyping import Float
from torch import Tensor

from anerf.errors import InputError
from anerf.scene.made.city import make_city
from anerf.scene.made.event import strike
from anerf.scene.made.shapes import SolidTable, solid_table
from anerf.scene.made.survey import survey_size
from anerf.scene.made.terrain import Terrain
from anerf.scene.made.tracer import trace_rays


@lru_cache(maxsize=4)
def _geometry(seed: int, flight: str) -> tuple[SolidTable, Terrain]:
    city = make_city(seed)
    if flight == "after":
        city, _ = strike(city)
    return solid_table(city.solids), city.terrain


def trace_depth(
    seed: int, size: str, flight: str, rays_o_enu: Float[Tensor, "n 3"], rays_d: Float[Tensor, "n 3"]
) -> Float[Tensor, " n"]:
    """Metres along each ray (origins in ENU metres, unit directions) to the first surface; infinite for sky.

    `flight` is `before` or `after`; all sizes of a survey share one geometry. Solids that a ray starts in are
    not seen by it.
    """
    survey_size(size)
    if flight not in ("before", "after"):
        raise InputError(f"the made survey has no flight {flight!r}; choose before or after")
    table, terrain = _geometry(seed, flight)
    return trace_rays(rays_o_enu.float(), rays_d.float(), table, terrain).t
