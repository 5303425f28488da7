"""A later flight comes in; nothing old moves."""

import fcntl
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anerf.errors import InputError, SceneError
from anerf.geometry.geodesy import GeodeticReference, enu_to_ecef
from anerf.scene.colmap import read_colmap, write_colmap
from anerf.scene.pixels import open_pixels
from anerf.scene.prepare import prepare_scene
from anerf.scene.scene import load_scene
from anerf.scene.update import update_scene


@pytest.fixture
def prepared(survey, tmp_path):
    return prepare_scene(survey, tmp_path / "made")


@pytest.fixture
def flight(make_survey, tmp_path):
    make_survey(tmp_path / "flight", n=4, seed=9)
    return tmp_path / "flight"


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_new_flight_in_the_old_frame(prepared, flight):
    updated = update_scene(prepared.root, flight, "after")
    for name in ("reference", "crs", "origin", "scale", "aabb", "altitude_range_m", "name", "made_by"):
        assert getattr(updated, name) == getattr(prepared, name)
    for old, new in zip(prepared.frames, updated.frames, strict=False):
        assert (new.id, new.file, new.split, new.sha256) == (old.id, old.file, old.split, old.sha256)
        np.testing.assert_array_equal(new.c2w, old.c2w)
    added = updated.frames_of("after")
    assert [frame.id for frame in added] == [10, 11, 12, 13]
    assert [frame.file for frame in added] == [f"images/after/00{n}.jpg" for n in range(4)]
    poses = {image.name: image.c2w for image in read_colmap(flight / "model").images}
    for frame in added:
        ecef = enu_to_ecef(frame.c2w, updated.reference)
        np.testing.assert_allclose(ecef, poses[Path(frame.file).name], atol=1e-7)
        assert (updated.root / frame.file).is_file()
    assert len(open_pixels(updated, 0.5)) == 14


def test_same_photographs_are_not_taken_twice(prepared, survey, flight):
    with pytest.raises(SceneError, match=r"all 10 photographs .* already"):
        update_scene(prepared.root, survey, "after")
    update_scene(prepared.root, flight, "after")
    with pytest.raises(SceneError, match=r"uses the name after already"):
        update_scene(prepared.root, flight, "after")


@pytest.mark.parametrize("batch", ["train", "val", "../x", "", "a b"])
def test_names_that_cannot_be_a_flight(prepared, flight, batch):
    with pytest.raises(SceneError, match=r"cannot name a flight|uses the name"):
        update_scene(prepared.root, flight, batch)


def test_folder_of_the_first_flight_is_not_taken(flight, make_survey, tmp_path):
    make_survey(tmp_path / "nested", prefix="after/")
    scene = prepare_scene(tmp_path / "nested", tmp_path / "made")
    with pytest.raises(SceneError, match="uses the name after already"):
        update_scene(scene.root, flight, "after")


@pytest.mark.parametrize("damage", ["photograph", "model"])
def test_failure_leaves_every_byte(prepared, flight, damage):
    if damage == "photograph":
        (flight / "images/003.jpg").write_bytes(b"")
    else:
        (flight / "model/images.bin").write_bytes(b"short")
    before = _files(prepared.root)
    with pytest.raises(InputError):
        update_scene(prepared.root, flight, "after")
    assert _files(prepared.root) == before


def test_leftovers_of_a_crash_are_replaced(prepared, flight):
    leftover = prepared.root / "images/after"
    leftover.mkdir()
    (leftover / "old.jpg").write_bytes(b"from a crash")
    update_scene(prepared.root, flight, "after")
    assert sorted(path.name for path in leftover.iterdir()) == [f"00{n}.jpg" for n in range(4)]


def test_flight_of_another_place_is_refused(prepared, flight):
    model = read_colmap(flight / "model")
    far = tuple(replace(image, c2w=image.c2w + np.eye(3, 4, 3) * 900.0) for image in model.images)
    write_colmap(flight / "model", replace(model, images=far))
    with pytest.raises(SceneError, match=r"outside the scene's box, more than .* check the survey's datum"):
        update_scene(prepared.root, flight, "after")
    assert load_scene(prepared.root).splits() == ("train", "val")


def test_local_flight_needs_its_own_place(prepared, flight):
    model = read_colmap(flight / "model")
    local = tuple(
        replace(image, c2w=np.column_stack((image.c2w[:, :3], [1.0, 2, 3]))) for image in model.images
    )
    write_colmap(flight / "model", replace(model, images=local))
    with pytest.raises(InputError, match="--enu-ref"):
        update_scene(prepared.root, flight, "after")
    place = GeodeticReference(51.5, 7.4, 200.0)
    # The points keep their old directions, so that their ground is steep here.
    updated = update_scene(prepared.root, flight, "after", enu_reference=place, check_gps=False)
    frame = updated.frames_of("after")[0]
    here = enu_to_ecef(frame.c2w[None, :, 3], prepared.reference)
    np.testing.assert_allclose(here, enu_to_ecef(np.array([[1.0, 2, 3]]), place), atol=1e-6)


def _moved(flight: Path, metres_east: float) -> None:
    """The flight's cameras and points, as far to the east."""
    model = read_colmap(flight / "model")
    here = GeodeticReference(51.5, 7.4, 200.0)
    shift = enu_to_ecef(np.array([[metres_east, 0, 0], [0, 0, 0]]), here)
    shift = shift[0] - shift[1]
    images = tuple(
        replace(image, c2w=np.column_stack((image.c2w[:, :3], image.c2w[:, 3] + shift)))
        for image in model.images
    )
    write_colmap(flight / "model", replace(model, images=images, points_xyz=model.points_xyz + shift))


def test_flight_beside_the_box_is_refused_unless_it_may_grow(prepared, flight):
    _moved(flight, 140.0)  # the box is 130 m wide around zero, the flight 100 m long
    before, old_xyz = _files(prepared.root), prepared.points()[0]
    with pytest.raises(SceneError, match=r"3 of 4 photographs of .*, 001.jpg first, see nothing .*--grow"):
        update_scene(prepared.root, flight, "after")
    assert _files(prepared.root) == before
    grown = update_scene(prepared.root, flight, "after", grow=True)
    assert (grown.origin, grown.scale, grown.reference) == (
        prepared.origin,
        prepared.scale,
        prepared.reference,
    )
    assert grown.aabb.lo[0] == prepared.aabb.lo[0]
    assert 195 < grown.aabb.hi[0] < 215
    assert [frame.id for frame in grown.frames] == list(range(14))
    xyz, rgb = grown.points()
    assert len(xyz) == len(rgb) > len(old_xyz)
    np.testing.assert_array_equal(xyz[: len(old_xyz)], old_xyz)
    assert (xyz[len(old_xyz) :, 0] > prepared.aabb.hi[0]).all()


def test_a_flight_over_the_box_does_not_grow_it(prepared, flight):
    assert update_scene(prepared.root, flight, "after", grow=True).aabb == prepared.aabb


_UPDATE = """
import sys
from pathlib import Path
from anerf.scene.update import update_scene
print("ready", flush=True)
update_scene(Path(sys.argv[1]), Path(sys.argv[2]), "after")
"""


def test_a_killed_update_leaves_the_scene_as_it_was(prepared, make_survey, tmp_path):
    make_survey(tmp_path / "long", n=300, seed=5)
    before = load_scene(prepared.root)
    rng = np.random.default_rng(0)
    for delay_s in rng.uniform(0.05, 0.6, 6):
        process = subprocess.Popen(
            [sys.executable, "-c", _UPDATE, prepared.root, tmp_path / "long"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay_s)
        process.kill()
        process.wait()
        now = load_scene(prepared.root)
        if now.splits() == ("train", "val", "after"):
            break  # it was quicker than the kill
        assert [frame.sha256 for frame in now.frames] == [frame.sha256 for frame in before.frames]
        assert now.aabb == before.aabb
    else:
        updated = update_scene(prepared.root, tmp_path / "long", "after")
        assert len(updated.frames_of("after")) == 300
        assert not [p for p in (prepared.root / "images").iterdir() if p.name.startswith(".")]


def test_two_updates_at_once_are_one_after_the_other(prepared, flight):
    lock = os.open(prepared.root, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SceneError, match=r"another update of .* is running; start this one when"):
            update_scene(prepared.root, flight, "after")
    finally:
        os.close(lock)
    assert len(update_scene(prepared.root, flight, "after").frames_of("after")) == 4
