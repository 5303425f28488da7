"""How well a scene's place on Earth agrees with what its photographs recorded, in figures and in words.

Poses and GPS are two witnesses. Where they disagree, one of them is wrong, and which one follows from how:
positions that scatter are weak GPS, heights that drift are a barometer, a common offset or turn is a datum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from anerf.errors import InputError
from anerf.geometry.alignment import cauchy_weights, robust_similarity
from anerf.geometry.geodesy import GeodeticReference, geodetic_to_enu
from anerf.scene.gps import GpsFix

Level = Literal["note", "warning", "stop"]

# Beyond the first number people should know, beyond the second nothing should be built on it.
_HORIZONTAL_RMS_M = (10.0, 100.0)
_HEIGHT_OFFSET_M = (15.0, 150.0)
_HEIGHT_SPREAD_M = (15.0, 15.0)
_TILT_DEG = (2.0, 15.0)
_SCALE_OFF = (0.05, 0.25)
_TURN_DEG = (3.0, 20.0)
_PLANE_POINTS = 20_000
_FEWEST_POINTS = 20


@dataclass(frozen=True)
class Finding:
    """One thing that people should know; `stop` means that nothing should be built on this georeference."""

    level: Level
    text: str


@dataclass(frozen=True)
class Residual:
    """GPS minus camera, ENU metres; `up_m` is None where the GPS recorded no height."""

    name: str
    east_m: float
    north_m: float
    up_m: float | None

    @property
    def horizontal_m(self) -> float:
        """Distance on the map."""
        return float(np.hypot(self.east_m, self.north_m))


@dataclass(frozen=True)
class Georeference:
    """What poses, GPS and ground say about each other. Figures that need what is missing are None."""

    n_photographs: int
    residuals: tuple[Residual, ...]
    """Of the photographs with GPS, in the order given."""
    horizontal_rms_m: float | None
    horizontal_median_m: float | None
    height_offset_m: float | None
    """Median of GPS height minus camera height."""
    height_spread_m: float | None
    """From the 5th to the 95th percentile of GPS height minus camera height."""
    scale: float | None
    """Metres by GPS for a metre between cameras, on the map."""
    turn_deg: float | None
    """How far GPS is turned against the cameras, counter-clockwise on the map."""
    tilt_deg: float | None
    """Of a plane through the sparse points."""
    findings: tuple[Finding, ...]

    def check(self, where: str) -> None:
        """InputError with the first finding that forbids to go on."""
        for finding in self.findings:
            if finding.level == "stop":
                raise InputError(f"{where}: {finding.text}")


def georeference(
    names: Sequence[str],
    c2w: Float[np.ndarray, "n 3 4"],
    fixes: Sequence[GpsFix | None],
    points_xyz: Float[np.ndarray, "p 3"],
    reference: GeodeticReference,
    *,
    aligned_heights: bool = False,
) -> Georeference:
    """Compares poses and points (ENU metres about `reference`) with GPS, photographs in the order of flight.

    `aligned_heights` tells that the poses were turned to fit the GPS heights: then heights that drift have
    tilted the scene, and not only spoiled the comparison.
    """
    with_fix = [i for i, fix in enumerate(fixes) if fix is not None]
    known = [fix for fix in fixes if fix is not None]
    tilt = _tilt(points_xyz)
    of_tilt = [] if tilt is None else _tilt_findings(*tilt)
    findings: list[Finding] = []
    tilt_deg = None if tilt is None else tilt[0]
    if not known:
        findings.append(
            Finding(
                "note",
                "no photograph tells where it was taken (EXIF or gps.csv): the place rests on what the "
                "survey says",
            ),
        )
        return Georeference(
            len(names), (), None, None, None, None, None, None, tilt_deg, (*findings, *of_tilt)
        )
    cameras = c2w[with_fix, :, 3]
    heights_m = np.array([np.nan if fix.height_m is None else fix.height_m for fix in known])
    place = np.array([(f.latitude_deg, f.longitude_deg, f.height_m or 0.0) for f in known])
    off = geodetic_to_enu(place, reference) - cameras
    off[np.isnan(heights_m), 2] = np.nan
    residuals = tuple(
        Residual(names[i], float(e), float(n), None if np.isnan(u) else float(u))
        for i, (e, n, u) in zip(with_fix, off, strict=True)
    )
    horizontal = np.hypot(off[:, 0], off[:, 1])
    rms_m = float(np.sqrt((horizontal**2).mean()))
    findings += _horizontal_findings(rms_m, off)
    scale, turn_deg, map_findings = _on_the_map(cameras, off, rms_m)
    findings += map_findings
    offset_m = spread_m = None
    if np.isfinite(heights_m).any():
        up = off[np.isfinite(heights_m), 2]
        offset_m, spread_m = float(np.median(up)), float(np.ptp(np.percentile(up, (5, 95))))
        findings += _height_findings(offset_m, spread_m, heights_m, cameras[:, 2], aligned=aligned_heights)
    return Georeference(
        len(names), residuals, rms_m, float(np.median(horizontal)), offset_m, spread_m, scale, turn_deg,
        tilt_deg, (*findings, *of_tilt),
    )  # fmt: skip


def _level(value: float, limits: tuple[float, float]) -> Level:
    return "stop" if value > limits[1] else "warning" if value > limits[0] else "note"


def _horizontal_findings(rms_m: float, off: Float[np.ndarray, "k 3"]) -> list[Finding]:
    level = _level(rms_m, _HORIZONTAL_RMS_M)
    text = f"cameras and GPS of {len(off)} photographs agree within {rms_m:.1f} m rms on the map"
    if level == "warning":
        east, north = np.median(off[:, :2], axis=0)
        text = (
            f"the GPS is weak: it is {rms_m:.1f} m rms off the cameras on the map (median offset {east:.1f} "
            f"m east, {north:.1f} m north), so products may lie that far from their true place; check them "
            "against ground control"
        )
    elif level == "stop":
        text = (
            f"GPS is {rms_m:.0f} m rms off the cameras on the map, more than {_HORIZONTAL_RMS_M[1]:.0f} m: "
            "they speak of different places or datums; check --enu-ref and the model's datum, remove a "
            "wrong gps.csv, or keep the poses as they are with --ignore-gps"
        )
    return [Finding(level, text)]


def _on_the_map(
    cameras: Float[np.ndarray, "k 3"], off: Float[np.ndarray, "k 3"], rms_m: float
) -> tuple[float | None, float | None, list[Finding]]:
    """Scale and turn between cameras and GPS, seen from above."""
    flat = cameras * (1.0, 1.0, 0.0)
    try:
        fit = robust_similarity(flat, flat + np.column_stack((off[:, :2], np.zeros(len(off)))))
    except InputError:
        return (
            None,
            None,
            [Finding("note", "too few photographs with GPS, or all on one line: scale not compared")],
        )
    turn_deg = float(np.degrees(np.arctan2(fit.rotation[1, 0], fit.rotation[0, 0])))
    # What noise of this size may do to scale and turn by chance.
    spread_m = float(np.sqrt(((flat - flat.mean(axis=0)) ** 2).sum()))
    chance = 3 * rms_m / max(spread_m, 1e-9)
    findings = []
    for value, limits, what, meaning in (
        (
            abs(fit.scale - 1),
            _SCALE_OFF,
            f"by GPS {fit.scale:.3f} m lie between cameras 1 m apart",
            "lengths",
        ),
        (
            abs(np.radians(turn_deg)),
            tuple(np.radians(_TURN_DEG)),
            f"GPS is turned by {turn_deg:.1f} degrees",
            "directions",
        ),
    ):
        level = _level(value, (max(limits[0], chance), max(limits[1], chance)))
        if level == "note":
            findings.append(Finding(level, f"{what}: {meaning} agree"))
        else:
            remedy = (
                "align the model to GPS again, or keep it with --ignore-gps"
                if level == "stop"
                else f"expect {meaning} in products to be off by as much"
            )
            findings.append(Finding(level, f"{what} against the cameras; {remedy}"))
    return fit.scale, turn_deg, findings


def _height_findings(
    offset_m: float,
    spread_m: float,
    heights_m: Float[np.ndarray, " k"],
    cameras_m: Float[np.ndarray, " k"],
    *,
    aligned: bool,
) -> list[Finding]:
    findings = []
    level = _level(abs(offset_m), _HEIGHT_OFFSET_M)
    if level == "note":
        findings.append(Finding(level, f"GPS heights are {offset_m:+.1f} m from the cameras' (median)"))
    else:
        remedy = (
            "give the origin's WGS 84 height with --enu-ref, or --ignore-gps"
            if level == "stop"
            else (
                "cameras may record heights above sea level, WGS 84 heights are above the ellipsoid: "
                "expect products to be off by as much"
            )
        )
        findings.append(
            Finding(level, f"GPS heights are {offset_m:+.1f} m from the cameras' (median); {remedy}")
        )
    if spread_m <= _HEIGHT_SPREAD_M[0]:
        return findings
    flight = heights_m[np.isfinite(heights_m)]
    tenth = max(1, len(flight) // 10)
    first, last = float(np.median(flight[:tenth])), float(np.median(flight[-tenth:]))
    order = (
        np.corrcoef(np.arange(len(flight)), flight)[0, 1] if len(flight) > 2 and np.ptp(flight) > 0 else 0.0
    )
    course = (
        f"{'climb' if last > first else 'fall'} steadily from {first:.0f} m to {last:.0f} m"
        if abs(order) > 0.8
        else f"scatter from {flight.min():.0f} m to {flight.max():.0f} m"
    )
    level_m = float(np.ptp(np.percentile(cameras_m, (5, 95))))
    what = f"the GPS heights drift: they {course} while the cameras keep within {level_m:.0f} m of one level"
    if aligned:
        remedy = "and the scene was tilted to fit them; align it with --height-prior median"
        return [*findings, Finding("stop", f"{what}, {remedy}")]
    remedy = "a model aligned to them is tilted, so align with --height-prior median"
    return [*findings, Finding("warning", f"{what}; {remedy}")]


def _tilt(points_xyz: Float[np.ndarray, "p 3"]) -> tuple[float, float] | None:
    """Slope of a plane through the points and the azimuth (degrees from north) towards which it rises."""
    if len(points_xyz) < _FEWEST_POINTS:
        return None
    points = points_xyz[:: -(-len(points_xyz) // _PLANE_POINTS)]
    lo, hi = np.percentile(points[:, :2], (1, 99), axis=0)
    points = points[((points[:, :2] >= lo) & (points[:, :2] <= hi)).all(axis=1)]
    middle = np.median(points, axis=0)
    flat = points - middle
    columns = np.column_stack((flat[:, :2], np.ones(len(flat))))
    weights, plane = np.ones(len(flat)), np.zeros(3)
    for _ in range(30):
        weighted = columns * weights[:, None]
        plane, *_ = np.linalg.lstsq(weighted.T @ columns, weighted.T @ flat[:, 2], rcond=None)
        off = flat[:, 2] - columns @ plane
        noise = max(1.4826 * float(np.median(np.abs(off))), 1e-6)
        weights = cauchy_weights(off, noise)
    return float(np.degrees(np.arctan(np.hypot(*plane[:2])))), float(
        np.degrees(np.arctan2(plane[0], plane[1])) % 360
    )


def _tilt_findings(tilt_deg: float, azimuth_deg: float) -> list[Finding]:
    level = _level(tilt_deg, _TILT_DEG)
    if level == "note":
        return [Finding(level, f"the ground is level within {tilt_deg:.1f} degrees")]
    compass = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")
    towards = compass[round(azimuth_deg / 45) % 8]
    what = f"the ground rises by {tilt_deg:.1f} degrees to the {towards}"
    if level == "warning":
        return [Finding(level, f"{what}: a slope, or a tilted model; compare with a map")]
    return [
        Finding(
            level,
            f"{what}, more than {_TILT_DEG[1]:.0f}: the model is tilted or its world is not east, north, "
            "up; align it to GPS with --height-prior median, or keep a mountain side as it is with "
            "--ignore-gps",
        )
    ]
