"""Makes the whole survey: two flights over the city of a seed, before and after its event, with the truth."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from anerf.errors import InputError
from anerf.geometry.cameras import Camera
from anerf.geometry.geodesy import GeodeticReference
from anerf.scene.colmap import write_colmap
from anerf.scene.folder import new_folder
from anerf.scene.made.city import make_city
from anerf.scene.made.event import Event, strike
from anerf.scene.made.flights import Station, after_flight, before_flight, survey_camera
from anerf.scene.made.light import Sun
from anerf.scene.made.picture import Shot, photograph
from anerf.scene.made.sparse import sparse_model
from anerf.scene.made.world import Detail, World, build_world
from anerf.scene.made.write import write_json, write_photograph, write_truth
from anerf.scene.threads import Progress, on_threads

log = logging.getLogger(__name__)

# Level ground in the Muensterland, Westphalia.
REFERENCE = GeodeticReference(latitude_deg=51.9698, longitude_deg=7.7412, height_m=101.5)
LATE_SUN = Sun(azimuth_deg=208.0, elevation_deg=36.0, rgb=(2.2, 1.95, 1.6), sky_rgb=(0.58, 0.68, 0.86))
FORMAT = 2
_CHANGED_LEVELS = 10
_CHANGED_M = 0.10


@dataclass(frozen=True)
class SurveySize:
    """How many photographs of which size, how many sparse points, and how finely the world is drawn."""

    name: str
    width: int
    height: int
    n_before: int
    n_after: int
    n_points: int
    detail: Detail


SIZES = {
    "demo": SurveySize("demo", 320, 240, 64, 24, 4000, Detail()),
    "tiny": SurveySize("tiny", 96, 72, 16, 8, 1200, Detail(0.4, 1.0, 0.5)),
}


def survey_size(name: str) -> SurveySize:
    """The size called `name`; InputError when there is none."""
    if name not in SIZES:
        raise InputError(f"there is no survey size {name!r}; choose one of {', '.join(SIZES)}")
    return SIZES[name]


def make_survey(
    out: Path,
    *,
    seed: int = 7,
    size: str = "demo",
    season_shift: bool = False,
    on_progress: Progress | None = None,
) -> bool:
    """Writes the survey to `out`, complete or not at all; `on_progress` hears (done, of all) pictures.

    Returns False, leaving `out` alone, where exactly this survey already stands. InputError when `out` holds
    anything else.
    """
    chosen = survey_size(size)
    stamp = {"format": FORMAT, "seed": seed, "size": size, "season_shift": season_shift}
    if _already_made(out, stamp):
        log.info("%s already holds this survey (seed %d, size %s)", out, seed, size)
        return False
    of_all = chosen.n_before + chosen.n_after

    def after(n_done: int) -> Progress:
        return lambda done, _: on_progress(n_done + done, of_all) if on_progress is not None else None

    city = make_city(seed)
    struck, event = strike(city)
    camera = survey_camera(chosen.width, chosen.height)
    stations = {
        "before": before_flight(seed, chosen.n_before),
        "after": after_flight(seed, chosen.n_after, event),
    }
    with new_folder(out) as folder, _one_core_a_picture():
        world = build_world(city, chosen.detail, Sun())
        otherwise = build_world(struck, chosen.detail, Sun(), like=world)
        flight = _Flight("before", camera, stations["before"], world, otherwise)
        _write_flight(folder, seed, flight, chosen.n_points, after(0))
        if season_shift:
            world = build_world(city, chosen.detail, LATE_SUN, like=world)
            otherwise = build_world(struck, chosen.detail, LATE_SUN, like=world)
        flight = _Flight("after", camera, stations["after"], otherwise, world)
        _write_flight(folder, seed, flight, chosen.n_points, after(chosen.n_before))
        (folder / "truth").mkdir()
        write_json(folder / "truth" / "truth.json", {**stamp, **_facts(camera, stations, event)})
    return True


@contextmanager
def _one_core_a_picture() -> Iterator[None]:
    """Pictures are taken on one thread each, several at a time.

    Threads that share every small operation would wait for each other, for seconds on a busy machine.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _already_made(out: Path, stamp: dict[str, object]) -> bool:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    truth = out / "truth" / "truth.json"
    if truth.is_file():
        found = json.loads(truth.read_text())
        if all(found.get(key) == value for key, value in stamp.items()):
            return True
        made = ", ".join(f"{key} {found.get(key)}" for key in stamp)
        raise InputError(
            f"{out} holds another made survey ({made}); choose another --out or remove that folder"
        )
    raise InputError(f"{out} already holds other files; choose another --out or remove that folder")


@dataclass(frozen=True, eq=False)
class _Flight:
    """Stations of one camera in `world`; `otherwise` is that world on the other side of the event."""

    name: str
    camera: Camera
    stations: tuple[Station, ...]
    world: World
    otherwise: World


def _shoot(world: World, camera: Camera, station: Station) -> Shot:
    pinhole = (camera.fx, camera.fy, camera.cx, camera.cy)
    return photograph(world, camera.width, camera.height, pinhole, station.c2w)


def _write_flight(folder: Path, seed: int, flight: _Flight, n_points: int, progress: Progress) -> None:
    """Takes and writes the photographs, their truth and the sparse model of one flight.

    Each is taken twice, with and without the event, to know what the event changed.
    """
    root = folder / flight.name
    images = root / "images"
    images.mkdir(parents=True)

    def take(station: Station) -> Shot:
        shot = _shoot(flight.world, flight.camera, station)
        write_photograph(images, station, shot.rgb, REFERENCE)
        changed = changed_pixels(shot, _shoot(flight.otherwise, flight.camera, station))
        write_truth(root, station, shot.depth_m, changed)
        return shot

    shots = on_threads(take, flight.stations, progress)
    model = sparse_model(seed, flight.camera, flight.stations, shots, n_points, REFERENCE)
    write_colmap(root / "model", model)


def changed_pixels(a: Shot, b: Shot) -> np.ndarray:
    """Pixels (h, w) whose colour or distance differs between two photographs from the same place."""
    step = np.abs(a.rgb.astype(np.int16) - b.rgb.astype(np.int16)).max(axis=2)
    return (step > _CHANGED_LEVELS) | (np.abs(a.depth_m - b.depth_m) > _CHANGED_M)


def _facts(camera: Camera, stations: dict[str, tuple[Station, ...]], event: Event) -> dict[str, object]:
    return {
        "reference": asdict(REFERENCE),
        "camera": asdict(camera),
        "images": {
            flight: [f"{station.stem}.jpg" for station in list_] for flight, list_ in stations.items()
        },
        "event": [
            {"what": footprint.what, "polygon_enu_m": [list(corner) for corner in footprint.polygon]}
            for footprint in event.footprints
        ],
    }
