"""`anerf bench render` on a small checkpoint: figures are there, positive and consistent."""

import json
from pathlib import Path

import numpy as np
import pytest

from anerf.bench import render_speed
from anerf.bench.stages import watch
from anerf.bench.views import photographed_view, view_from_above
from anerf.checkpoint.load import load_scene_model
from anerf.cli.bench_render import bench_render
from anerf.errors import InputError, SceneError
from anerf.learn.metrics import psnr
from anerf.partition.regions import load_partition
from anerf.render.picture import render_picture
from anerf.render.samples import Sampling
from anerf.scene.pixels import open_pixels

STAGES = ["rays", "sampling", "field", "routing", "compositing", "background", "rest"]


def bench(checkpoint: Path, capsys, **changes) -> dict:
    small = {"width": 24, "height": 18, "samples": (2, 4), "march": (1.0,), "frames": 2, "prefix": "last"}
    bench_render(str(checkpoint), as_json=True, **{**small, **changes})
    return json.loads(capsys.readouterr().out)


def test_json_holds_every_way_of_sampling(checkpoint, tiny_scene, capsys):
    found = bench(checkpoint, capsys)
    assert (found["width"], found["height"], found["experts"]) == (24, 18, 4)
    boxes = load_partition(tiny_scene, "g22").boxes  # 8 x 8 x 4 cells each
    cells = [side / n for box in boxes for side, n in zip(box.size, (8, 8, 4), strict=True)]
    assert found["cell_m"] == pytest.approx(min(cells), rel=1e-5)
    assert found["conditions"]["kernels"]
    ways = [row["sampling"] for row in found["rows"]]
    assert ways == ["importance 2", "importance 4", "march 1 cells", "reference 512"]
    for row in found["rows"]:
        assert row["ms"] > 0
        assert row["samples_per_ray"] > 0
        assert row["photograph_psnr_db"] is None
        assert list(row["stages"]) == STAGES
        assert min(row["stages"].values()) > 0
        assert sum(row["stages"].values()) == pytest.approx(1)
    *_, march, reference = found["rows"]
    assert [row["frames"] for row in found["rows"]] == [2, 2, 2, 1]
    assert reference["reference_psnr_db"] is None
    assert reference["samples_per_ray"] > march["samples_per_ray"]
    few, more = found["rows"][:2]
    assert more["samples_per_ray"] == pytest.approx(2 * few["samples_per_ray"], rel=0.2)
    assert more["reference_psnr_db"] > few["reference_psnr_db"] > 10


def test_a_photographs_view_is_compared_with_it(checkpoint, tiny_scene, capsys):
    frame = tiny_scene.frames_of("train")[0]
    name = Path(frame.file).name
    found = bench(checkpoint, capsys, scene=tiny_scene.root, view=name, width=1000, height=1000)
    assert found["view"] == frame.file
    assert (found["width"], found["height"]) == (frame.camera.width, frame.camera.height)
    model = load_scene_model(str(checkpoint), "last")
    picture = render_picture(model, frame.camera, frame.c2w, samples=4, flight="survey")
    pixels, i = open_pixels(tiny_scene, 1.0), tiny_scene.frames.index(frame)
    truth = pixels.image(i).astype(np.float32) / 255
    expected = psnr(picture.rgb, truth, np.asarray(pixels.mask(i)))
    assert found["rows"][1]["photograph_psnr_db"] == pytest.approx(expected)


def test_a_smaller_photograph_is_as_the_pixel_store_has_it(checkpoint, tiny_scene):
    model = load_scene_model(str(checkpoint), "last")
    first = tiny_scene.frames_of("val")[0]
    view = photographed_view(model, tiny_scene, None, first.camera.width // 2, 10_000)
    pixels, i = open_pixels(tiny_scene, 0.5), tiny_scene.frames.index(first)
    assert view.name == first.file
    assert view.camera == pixels.camera(i)
    assert np.array_equal((view.photograph.rgb * 255).round().astype(np.uint8), pixels.image(i))
    assert np.array_equal(view.photograph.mask, pixels.mask(i))


@pytest.mark.parametrize(("width", "height"), [(40, 30), (10, 30)])
def test_the_view_from_above_shows_the_whole_box(width, height, checkpoint):
    model = load_scene_model(str(checkpoint), "last")
    view = view_from_above(model, width, height)
    camera, eye = view.camera, view.c2w[:, 3]
    assert np.allclose(view.c2w[:, :3], np.eye(3))
    lo, hi = model.aabb.lo, model.aabb.hi
    ways = []
    for x, y in ((lo[0], lo[1]), (lo[0], hi[1]), (hi[0], lo[1]), (hi[0], hi[1])):
        column = camera.cx + camera.fx * (x - eye[0]) / (eye[2] - hi[2])
        row = camera.cy - camera.fy * (y - eye[1]) / (eye[2] - hi[2])
        ways += [column, width - column, row, height - row]
    assert min(ways) == pytest.approx(0, abs=1e-6)  # and no higher than it must be


def test_watching_changes_no_picture_and_counts_what_is_evaluated(checkpoint):
    model = load_scene_model(str(checkpoint), "last")
    view = view_from_above(model, 24, 18)
    seen = render_speed._watched(model, view, Sampling.of_picture(4, model.spec.sample_floor))
    plain = render_picture(model, view.camera, view.c2w, samples=4)
    assert np.array_equal(seen.picture.rgb, plain.rgb)
    hits = (plain.opacity > 0).mean()
    assert 4 * hits <= seen.samples_per_ray <= 16 * hits  # up to four experts blend


def test_a_stage_that_is_not_there_has_no_share():
    stages = watch(lambda: sum(range(1000)))
    assert stages.seconds > 0
    assert stages.shares == {name: float(name == "rest") for name in STAGES}


def test_the_tables_show_all_of_it(checkpoint, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    bench_render(str(checkpoint), width=12, height=9, samples=(2,), march=(1.0,), frames=1, prefix="last")
    shown = capsys.readouterr().out
    for word in ("importance 2", "march 1 cells", "reference 512", "dB to photograph", *STAGES, "load"):
        assert word in shown


def test_what_cannot_be_is_refused(checkpoint, tiny_scene, capsys):
    with pytest.raises(InputError, match=r"--samples 4 0 is not possible"):
        bench(checkpoint, capsys, samples=(4, 0))
    with pytest.raises(InputError, match="give it with --scene"):
        bench(checkpoint, capsys, view="0001.jpg")
    with pytest.raises(SceneError, match=r"no photograph none\.jpg: give one of its frames, such as images/"):
        bench(checkpoint, capsys, scene=tiny_scene.root, view="none.jpg")
