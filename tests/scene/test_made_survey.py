"""The made survey as files: same seed same bytes, exact poses and depths, changes only at the event."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from anerf.cli.survey import survey
from anerf.errors import InputError
from anerf.geometry.cameras import Camera, project
from anerf.geometry.geodesy import GeodeticReference, ecef_to_enu, geodetic_to_enu
from anerf.geometry.rays import rays_from_pixels
from anerf.scene.colmap import ColmapModel, read_colmap
from anerf.scene.made.city import make_city
from anerf.scene.made.event import strike
from anerf.scene.made.flights import after_flight, before_flight, serpentine
from anerf.scene.made.survey import SIZES, make_survey
from anerf.scene.made.truth import trace_depth

SEED = 7
REACH_M = 26.0  # shadows of what fell, and the sky that it no longer hides


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "survey"
    assert make_survey(out, seed=SEED, size="tiny")
    return out


def facts(made: Path) -> dict:
    return json.loads((made / "truth" / "truth.json").read_text())


def reference(made: Path) -> GeodeticReference:
    return GeodeticReference(**facts(made)["reference"])


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def depth_of(made: Path, flight: str, stem: str) -> np.ndarray:
    return np.load(made / flight / "truth" / "depth" / f"{stem}.jpg.npy", allow_pickle=False)


def mask_of(made: Path, flight: str, stem: str) -> np.ndarray:
    with Image.open(made / flight / "truth" / "changed" / f"{stem}.jpg.png") as picture:
        return np.asarray(picture)


def points_seen(made: Path, flight: str, stem: str, model: ColmapModel) -> np.ndarray:
    """ENU positions (h, w, 3) that a photograph's pixels show."""
    image = next(image for image in model.images if image.name == f"{stem}.jpg")
    camera = model.cameras[image.camera_id]
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    xy = torch.from_numpy(np.stack((x, y), axis=-1).reshape(-1, 2))
    pose = torch.from_numpy(ecef_to_enu(image.c2w, reference(made)))
    rays_o, rays_d = rays_from_pixels(camera, pose, xy)
    depth = torch.from_numpy(depth_of(made, flight, stem).reshape(-1, 1))
    return (rays_o + depth * rays_d).numpy().reshape(camera.height, camera.width, 3)


def test_same_seed_same_bytes_and_other_seed_other_bytes(made: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    make_survey(again, seed=SEED, size="tiny")
    make_survey(other, seed=SEED + 1, size="tiny")
    assert digests(again) == digests(made)
    assert digests(other)["before/images/before_0001.jpg"] != digests(made)["before/images/before_0001.jpg"]


def test_layout(made: Path) -> None:
    size, listed = SIZES["tiny"], facts(made)["images"]
    for flight, n_pictures in (("before", size.n_before), ("after", size.n_after)):
        images = sorted(path.name for path in (made / flight / "images").iterdir())
        assert images == listed[flight] == [f"{flight}_{k:04d}.jpg" for k in range(1, n_pictures + 1)]
        for name in images:
            with Image.open(made / flight / "images" / name) as picture:
                assert picture.size == (size.width, size.height)
            depth = depth_of(made, flight, name[:-4])
            assert depth.dtype == np.float32
            assert depth.shape == (size.height, size.width)
            assert np.isfinite(depth).all()
            assert 30 < depth.min() < depth.max() < 260
    assert [event["what"] for event in facts(made)["event"]] == [
        "collapsed building",
        "blocked street",
        "flooded area",
    ]


def test_depth_is_where_single_rays_end(made: Path) -> None:
    for flight, stem in (("before", "before_0003"), ("before", "before_0012"), ("after", "after_0001")):
        model = read_colmap(made / flight / "model")
        image = next(image for image in model.images if image.name == f"{stem}.jpg")
        camera = model.cameras[1]
        pixel = np.random.default_rng(3).integers(0, (camera.width, camera.height), (400, 2))
        pose = torch.from_numpy(ecef_to_enu(image.c2w, reference(made)))
        rays_o, rays_d = rays_from_pixels(camera, pose, torch.from_numpy(pixel + 0.5))
        traced = trace_depth(SEED, "tiny", flight, rays_o, rays_d).numpy()
        stored = depth_of(made, flight, stem)[pixel[:, 1], pixel[:, 0]]
        # Some pixels look along an edge, where a rounding error decides.
        assert np.mean(np.abs(traced - stored) < 0.02) > 0.985


def test_model_reprojects_its_own_points(made: Path) -> None:
    for flight in ("before", "after"):
        model = read_colmap(made / flight / "model")
        assert model.cameras == {1: Camera("PINHOLE", 96, 72, model.cameras[1].params)}
        assert len(model.points_xyz) > 500
        points = ecef_to_enu(model.points_xyz, reference(made))
        assert np.abs(points[:, :2]).max() < 260
        assert -3 < points[:, 2].min() < points[:, 2].max() < 30
        n_views, error_sum = np.zeros(len(points)), np.zeros(len(points))
        for image in model.images:
            pose = ecef_to_enu(image.c2w, reference(made))
            local = (points[image.observed_point] - pose[:, 3]) @ pose[:, :3]
            xy, in_front = project(model.cameras[1], torch.from_numpy(local))
            assert in_front.all()
            np.add.at(n_views, image.observed_point, 1)
            np.add.at(error_sum, image.observed_point, np.linalg.norm(xy.numpy() - image.observed_xy, axis=1))
        assert n_views.min() >= 3
        assert error_sum / n_views == pytest.approx(model.points_error_px, abs=1e-4)
        # The mean length of a normal error of 0.3 px in x and y is 0.3 * sqrt(pi / 2).
        assert error_sum.sum() / n_views.sum() == pytest.approx(0.376, abs=0.01)


def test_sparse_points_lie_on_surfaces(made: Path) -> None:
    model = read_colmap(made / "before" / "model")
    points = torch.from_numpy(ecef_to_enu(model.points_xyz, reference(made)))
    image = model.images[5]
    eye = torch.from_numpy(ecef_to_enu(image.c2w, reference(made))[:, 3])
    offset = points[image.observed_point] - eye
    distance = offset.norm(dim=1)
    depth = trace_depth(SEED, "tiny", "before", eye.expand(len(offset), 3), offset / distance[:, None])
    # A quarter: how far apart two places may be that a coarse pixel cannot tell from each other.
    assert ((depth - distance).abs() < 0.35).float().mean() > 0.9


@pytest.mark.parametrize("flight", ["before", "after"])
def test_changes_lie_on_the_event(made: Path, flight: str) -> None:
    model = read_colmap(made / flight / "model")
    _, event = strike(make_city(SEED))
    corners = [np.array(footprint.polygon) for footprint in event.footprints]
    lo = np.array([polygon.min(axis=0) for polygon in corners]) - REACH_M
    hi = np.array([polygon.max(axis=0) for polygon in corners]) + REACH_M
    shares = []
    for image in model.images:
        stem = image.name[:-4]
        mask = mask_of(made, flight, stem)
        assert set(np.unique(mask)) <= {0, 255}
        seen = points_seen(made, flight, stem, model)[mask == 255][:, None, :2]
        assert ((seen > lo) & (seen < hi)).all(axis=2).any(axis=1).all()
        shares.append(np.mean(mask == 255))
    assert max(shares) > 0.15
    assert np.mean(shares) < 0.5


def test_flooded_pixels_are_marked(made: Path) -> None:
    model = read_colmap(made / "after" / "model")
    n_water, n_marked = 0, 0
    for image in model.images:
        stem = image.name[:-4]
        mask = mask_of(made, "after", stem) == 255
        points = points_seen(made, "after", stem, model)
        water = np.abs(points[..., 2] + 0.33) < 1e-3
        n_water += int(water.sum())
        n_marked += int((water & mask).sum())
    assert n_water > 500
    assert n_marked / n_water > 0.9  # all but shallow water over paving, in shade


def test_exif_tells_place_time_and_exposure(made: Path) -> None:
    model = read_colmap(made / "before" / "model")
    times = []
    for image in model.images:
        with Image.open(made / "before" / "images" / image.name) as picture:
            exif = picture.getexif()
        gps, details = exif.get_ifd(ExifTags.IFD.GPSInfo), exif.get_ifd(ExifTags.IFD.Exif)
        north, east = (
            sum(float(part) / 60**power for power, part in enumerate(gps[tag]))
            for tag in (ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLongitude)
        )
        place = np.array([north, east, float(gps[ExifTags.GPS.GPSAltitude])])
        eye = ecef_to_enu(image.c2w, reference(made))[:, 3]
        assert geodetic_to_enu(place, reference(made)) == pytest.approx(eye, abs=0.01)
        assert float(details[ExifTags.Base.ExposureTime]) == pytest.approx(1 / 800)
        times.append(details[ExifTags.Base.DateTimeOriginal])
    assert times == sorted(times)
    assert len(set(times)) == len(times)


def test_an_existing_survey_is_kept_and_other_files_are_refused(made: Path, tmp_path: Path) -> None:
    before = digests(made)
    assert not make_survey(made, seed=SEED, size="tiny")
    assert digests(made) == before
    with pytest.raises(InputError, match="another made survey"):
        make_survey(made, seed=SEED + 1, size="tiny")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="other files"):
        make_survey(tmp_path, size="tiny")
    with pytest.raises(InputError, match="no survey size 'huge'"):
        make_survey(tmp_path / "new", size="huge")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]


def test_progress_counts_every_picture_and_threads_are_given_back(tmp_path: Path) -> None:
    n_threads, heard = torch.get_num_threads(), []
    make_survey(
        tmp_path / "s", seed=2, size="tiny", season_shift=True, on_progress=lambda *at: heard.append(at)
    )
    assert heard == [(done, 24) for done in range(1, 25)]
    assert torch.get_num_threads() == n_threads


def test_command_says_where_the_survey_is(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    survey(made, seed=SEED, size="tiny")
    assert "already" in capsys.readouterr().err


def test_flights_fly_where_they_should() -> None:
    assert serpentine(4, 10.0) == [(-5, -5), (5, -5), (5, 5), (-5, 5)]
    assert len(serpentine(11, 40.0)) == 11
    _, event = strike(make_city(SEED))
    before, after = before_flight(SEED, 64), after_flight(SEED, 24, event)
    down = np.array([np.degrees(np.arcsin(station.c2w[2, 2])) for station in before])
    assert len(before) == 64
    assert (down[:20] > 76).all()
    assert ((down[20:] > 42) & (down[20:] < 58)).all()
    assert all(58 < station.c2w[2, 3] < 72 for station in (*before, *after))
    headings = {round(np.degrees(np.arctan2(-s.c2w[0, 2], -s.c2w[1, 2])) / 90) % 4 for s in before[20:]}
    assert headings == {0, 1, 2, 3}


@pytest.mark.parametrize("seed", range(6))
def test_every_seed_gives_a_city_with_all_three_happenings(seed: int) -> None:
    city = make_city(seed)
    struck, event = strike(city)
    assert len({plot.kind for plot in city.plots}) == 4
    assert [footprint.what for footprint in event.footprints] == [
        "collapsed building",
        "blocked street",
        "flooded area",
    ]
    assert max(solid.center[2] + solid.half_m[2] for solid in city.solids) < 28  # the light volume's top
    assert struck.terrain.water_m is not None
    assert struck.strokes[: len(city.strokes)] == city.strokes
    for footprint in event.footprints:
        assert np.abs(np.array(footprint.polygon)).max() < 68
