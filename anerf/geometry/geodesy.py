"""WGS 84: geodetic, earth-centred (ECEF) and local east-north-up (ENU) coordinates, in metres and degrees.

Everything is float64. Points are arrays (..., 3); poses are camera-to-world arrays (..., 3, 4), whose
rotation turns with the frame.
"""

from dataclasses import dataclass

import numpy as np
import pymap3d
from jaxtyping import Float
from pyproj.aoi import AreaOfInterest
from pyproj.database import query_utm_crs_info

from anerf.errors import InputError

# No survey lies deeper than the deepest sea or higher than an aircraft flies.
_LOWEST_M, _HIGHEST_M = -11_500.0, 50_000.0
_POLAR_RADIUS_M = 6_356_752.0

FARTHEST_M = 1e6
"""How far from a scene a camera may be, and a picture may reach."""


@dataclass(frozen=True)
class GeodeticReference:
    """The origin of a local ENU frame on WGS 84: degrees, degrees and ellipsoidal height in metres."""

    latitude_deg: float
    longitude_deg: float
    height_m: float

    def __post_init__(self) -> None:
        """Refuses what is no place near the Earth's surface."""
        on_globe = abs(self.latitude_deg) <= 90 and abs(self.longitude_deg) <= 360
        if not (on_globe and _LOWEST_M <= self.height_m <= _HIGHEST_M):
            raise InputError(
                f"latitude {self.latitude_deg}, longitude {self.longitude_deg}, height {self.height_m} is no "
                "place on Earth; give WGS 84 latitude and longitude in degrees, then the height in metres"
            )

    @classmethod
    def from_ecef(cls, xyz: Float[np.ndarray, "3"]) -> "GeodeticReference":
        """The reference at an ECEF position in metres."""
        latitude, longitude, height = pymap3d.ecef2geodetic(*np.asarray(xyz, dtype=np.float64))
        return cls(float(latitude), float(longitude), float(height))

    @property
    def utm_crs(self) -> str:
        """EPSG code of the WGS 84 UTM zone that holds the reference, such as `EPSG:32632`."""
        longitude = (self.longitude_deg + 180) % 360 - 180
        place = AreaOfInterest(longitude, self.latitude_deg, longitude, self.latitude_deg)
        zones = query_utm_crs_info(datum_name="WGS 84", area_of_interest=place)
        if not zones:
            raise InputError(
                f"no UTM zone covers latitude {self.latitude_deg}; UTM ends at 84 degrees north and 80 south"
            )
        return f"EPSG:{zones[0].code}"


def ecef_to_enu(
    coordinates: Float[np.ndarray, "*n 3"] | Float[np.ndarray, "*n 3 4"], reference: GeodeticReference
) -> np.ndarray:
    """Points (..., 3) or poses (..., 3, 4) from ECEF to ENU about `reference`."""
    origin, rotation = enu_frame(reference)
    if coordinates.shape[-1] == 4:
        centred = np.array(coordinates, dtype=np.float64)
        centred[..., 3] -= origin
        return rotation.T @ centred
    return (np.asarray(coordinates, dtype=np.float64) - origin) @ rotation


def enu_to_ecef(
    coordinates: Float[np.ndarray, "*n 3"] | Float[np.ndarray, "*n 3 4"], reference: GeodeticReference
) -> np.ndarray:
    """Points (..., 3) or poses (..., 3, 4) from ENU about `reference` to ECEF."""
    origin, rotation = enu_frame(reference)
    if coordinates.shape[-1] == 4:
        turned = rotation @ np.asarray(coordinates, dtype=np.float64)
        turned[..., 3] += origin
        return turned
    return np.asarray(coordinates, dtype=np.float64) @ rotation.T + origin


def geodetic_to_enu(
    latitude_longitude_height: Float[np.ndarray, "*n 3"], reference: GeodeticReference
) -> Float[np.ndarray, "*n 3"]:
    """WGS 84 degrees, degrees and metres to ENU metres."""
    latitude, longitude, height = np.moveaxis(np.asarray(latitude_longitude_height, dtype=np.float64), -1, 0)
    return ecef_to_enu(np.stack(pymap3d.geodetic2ecef(latitude, longitude, height), axis=-1), reference)


def enu_to_geodetic(
    xyz: Float[np.ndarray, "*n 3"], reference: GeodeticReference
) -> Float[np.ndarray, "*n 3"]:
    """ENU metres to WGS 84 latitude and longitude in degrees and ellipsoidal height in metres."""
    return np.stack(pymap3d.ecef2geodetic(*np.moveaxis(enu_to_ecef(xyz, reference), -1, 0)), axis=-1)


def is_ecef(xyz: Float[np.ndarray, "n 3"]) -> bool:
    """Whether positions are ECEF metres: their median lies near the Earth's surface, seen from its centre.

    A local frame would have to reach 6 300 km from its origin to be mistaken for it.
    """
    radius_m = float(np.linalg.norm(np.median(np.asarray(xyz, dtype=np.float64), axis=0)))
    return abs(radius_m - _POLAR_RADIUS_M) < 2 * _HIGHEST_M


def enu_frame(reference: GeodeticReference) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
    """ECEF position of the reference, and its east, north and up axes as columns."""
    place = reference.latitude_deg, reference.longitude_deg
    origin = np.array(pymap3d.geodetic2ecef(*place, reference.height_m), dtype=np.float64)
    axes = [pymap3d.enu2uvw(east, north, up, *place) for east, north, up in np.eye(3)]
    return origin, np.array(axes, dtype=np.float64).T
