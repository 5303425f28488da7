"""A survey of ten thousand photographs takes little more memory than one of two hundred."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

MOST_MB, MOST_GROWTH_MB = 2000, 300
FROM_PHOTOGRAPHS_TO_STEPS = """
import json, sys
from pathlib import Path
from anerf.jobs.learning import fresh_expert
from anerf.jobs.spec import parse_job
from anerf.learn.rays import SURVEY_FLIGHT, RaySource
from anerf.partition.build import make_partition
from anerf.partition.coverage import region_tiles
from anerf.partition.designs import Grid
from anerf.scene.pixels import open_pixels
from anerf.scene.prepare import prepare_scene
from tests.memory import peak_mb

survey, root = Path(sys.argv[1]), Path(sys.argv[2])
peaks = {"imports": peak_mb()}
scene = prepare_scene(survey, root)
peaks["prepared"] = peak_mb()
partition = make_partition(scene, Grid(4, 4), 1.1)
peaks["partitioned"] = peak_mb()
job = parse_job({
    "op": "train", "scene": str(root), "algo": "plain", "downscale": 1.0, "rays_per_step": 1024,
    "outer_steps": 100, "ray_samples": 16, "log2_hashmap_size": 16, "color_space": "srgb",
})
pixels = open_pixels(scene, job.downscale)
tiles = region_tiles(scene, partition, 5, ("train",), job.downscale)
expert = fresh_expert(
    job, scene, partition, 5, RaySource(scene, pixels, tiles, (SURVEY_FLIGHT,), job.color_space)
)
expert.advance(3)
peaks["training"] = peak_mb()
print(json.dumps({"frames": len(scene.frames), "steps": expert.step, "peaks": peaks}))
"""


def write_survey(root: Path, n: int) -> None:
    """A serpentine flight over flat country: `n` small photographs, no two with the same bytes."""
    rng = np.random.default_rng(0)
    kinds = []
    for _ in range(8):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).save(buffer, "JPEG")
        kinds.append(buffer.getvalue())
    side = int(np.ceil(np.sqrt(n)))
    frames = []
    (root / "images").mkdir(parents=True)
    for i in range(n):
        start, rest, comment = kinds[i % 8][:2], kinds[i % 8][2:], f"{i}".encode()
        header = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big")
        (root / f"images/{i:05d}.jpg").write_bytes(start + header + comment + rest)
        row, column = divmod(i, side)
        east, north = 20.0 * (column if row % 2 == 0 else side - 1 - column), 20.0 * row
        pose = [[1, 0, 0, east], [0, 1, 0, north], [0, 0, 1, 100], [0, 0, 0, 1]]
        frames.append({"file_path": f"images/{i:05d}.jpg", "transform_matrix": pose})
    transforms = {
        "camera_model": "PINHOLE", "w": 32, "h": 24, "fl_x": 24.0, "fl_y": 24.0, "cx": 16.0, "cy": 12.0,
        "enu_reference": {"latitude_deg": 51.5, "longitude_deg": 7.4, "altitude_m": 100.0},
        "altitude_range_enu_m": [-2, 20], "frames": frames,
    }  # fmt: skip
    (root / "transforms.json").write_text(json.dumps(transforms), encoding="utf-8")


def test_ten_thousand_photographs_fit_into_little_memory(tmp_path):
    peaks, at_work = {}, {}
    for n in (200, 10_000):
        survey, scene = tmp_path / f"survey{n}", tmp_path / f"scene{n}"
        write_survey(survey, n)
        at_work[n] = subprocess.Popen(
            [sys.executable, "-c", FROM_PHOTOGRAPHS_TO_STEPS, str(survey), str(scene)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    for n, process in at_work.items():
        shown, errors = process.communicate()
        assert process.returncode == 0, errors
        told = json.loads(shown)
        assert (told["frames"], told["steps"]) == (n, 3)
        peaks[n] = told["peaks"]
    stated = f"peak resident megabytes by number of photographs: {peaks}"
    assert peaks[10_000]["training"] < MOST_MB, stated
    assert peaks[10_000]["training"] - peaks[200]["training"] < MOST_GROWTH_MB, stated
    sys.stdout.write(stated + "\n")
