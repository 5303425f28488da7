"""Pictures are the same in one piece, in tiles and as rays, and take the experts that they need."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from anerf.checkpoint.load import load_scene_model
from anerf.geometry.cameras import Camera
from anerf.geometry.geodesy import GeodeticReference, enu_to_geodetic
from anerf.geometry.rays import look_at
from anerf.render.picture import Picture, pixel_centers, render_picture
from anerf.render.view import SURFACE_OPACITY
from anerf.viewer.layer_colors import view_normals
from serve_apps.frames import tile_rows
from serve_apps.requests import RenderRequest
from serve_apps.service import RenderService
from serve_apps.source import find_source
from tests.serve_apps.endpoint import Endpoint

W, H, SAMPLES = 40, 30, 8
LEVEL = 1 / 255
OBLIQUE = look_at((0, -45, 30), (0, 0, 5))
CAMERA = Camera.from_fov(W, H, 50)


@pytest.fixture
def truth(halves: Path) -> Picture:
    return render_picture(load_scene_model(str(halves / "two"), "last"), CAMERA, OBLIQUE, samples=SAMPLES)


def body(**changes: Any) -> dict[str, Any]:
    pose = {"c2w": OBLIQUE.tolist(), "fov_y_deg": 50.0, "width": W, "height": H, "samples": SAMPLES}
    return {"checkpoint": "two", "prefix": "last", **pose, **changes}


def numbers(endpoint: Endpoint, **changes: Any) -> np.ndarray:
    answer = endpoint.client().post("/render", json=body(format="npy", **changes))
    assert answer.status_code == 200, answer.text
    return np.load(io.BytesIO(answer.content), allow_pickle=False)


def rays_of(pose: np.ndarray) -> np.ndarray:
    xy = pixel_centers(CAMERA).numpy()
    d = np.stack(
        [(xy[:, 0] - CAMERA.cx) / CAMERA.fx, -(xy[:, 1] - CAMERA.cy) / CAMERA.fy, -np.ones(len(xy))], 1
    )
    d = (d / np.linalg.norm(d, axis=1, keepdims=True)) @ pose[:, :3].T
    return np.concatenate([np.broadcast_to(pose[:, 3], d.shape), d], axis=1).astype("<f4")


@pytest.mark.parametrize("tile_pixels", [10**6, 333, 1])
@pytest.mark.parametrize("layer", ["rgb", "depth", "opacity", "expert"])
def test_tiles_are_the_frame(halves: Path, truth: Picture, layer: str, tile_pixels: int) -> None:
    seen = numbers(Endpoint(halves, tile_pixels=tile_pixels), layer=layer)
    expected = {"rgb": truth.rgb, "depth": truth.depth_m, "opacity": truth.opacity, "expert": truth.expert}[
        layer
    ]
    assert (
        np.abs(seen - expected).max() <= {"rgb": LEVEL, "depth": 1e-3, "opacity": LEVEL, "expert": 0}[layer]
    )
    assert seen.std() > 1e-3


def test_normals_have_no_seams_between_tiles(halves: Path) -> None:
    whole = numbers(Endpoint(halves), layer="normals")
    tiles = numbers(Endpoint(halves, tile_pixels=5 * W), layer="normals")
    assert np.abs(whole - tiles).max() < 1e-3
    lengths = np.linalg.norm(whole, axis=-1)
    assert lengths.max() == pytest.approx(1)
    assert ((lengths < 1e-6) | (np.abs(lengths - 1) < 1e-5)).all()


def test_normals_are_the_viewers_also_where_the_field_is_thin(halves: Path, truth: Picture) -> None:
    assert ((truth.opacity > 0.1) & (truth.opacity < 0.5)).any()
    seen = numbers(Endpoint(halves), layer="normals")
    assert np.abs(seen - view_normals(CAMERA, OBLIQUE, truth)).max() < 1e-3


@pytest.mark.parametrize("columns", [6, 8])
def test_rays_are_the_frame(halves: Path, truth: Picture, columns: int, monkeypatch: Any) -> None:
    monkeypatch.setattr("serve_apps.frames.RAYS_AT_ONCE", 500)
    rays = rays_of(OBLIQUE)
    if columns == 8:
        rays = np.concatenate([rays, np.float32([[0, np.inf]]).repeat(len(rays), 0)], axis=1)
    query = {"checkpoint": "two", "prefix": "last", "samples": SAMPLES, "columns": columns}
    answer = Endpoint(halves).client().post("/rays", params=query, content=rays.astype("<f4").tobytes())
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-anerf-step"] == "100"
    with pa.ipc.open_stream(answer.content) as stream:
        batches = list(stream)
    assert [len(batch) for batch in batches] == [500, 500, 200]
    table = pa.Table.from_batches(batches)
    rgb = np.stack(table["rgb"].to_numpy(zero_copy_only=False))
    assert np.abs(rgb - truth.rgb.reshape(-1, 3)).max() <= LEVEL
    assert np.abs(table["depth_m"].to_numpy() - truth.depth_m.ravel()).max() < 5e-3
    assert (table["expert"].to_numpy() == truth.expert.ravel()).mean() > 0.99


def test_near_and_far_of_rays(halves: Path) -> None:
    """What is cut away is not seen; depth still counts from the origin."""
    down = np.float32([[-10, 0, 60, 0, 0, -1]])
    limits = np.float32([[0, 1e4], [50, 1e4], [0, 44.9], [52, 55]])
    rays = np.concatenate([down.repeat(4, 0), limits], axis=1)
    query = {"checkpoint": "two", "prefix": "last", "columns": 8, "quality": "fine"}
    answer = Endpoint(halves).client().post("/rays", params=query, content=rays.tobytes())
    assert answer.status_code == 200, answer.text
    with pa.ipc.open_stream(answer.content) as stream:
        seen = stream.read_all()
    depth_m, opacity = seen["depth_m"].to_numpy(), seen["opacity"].to_numpy()
    assert 45 < depth_m[0] < 60
    assert depth_m[1] >= 50
    assert (depth_m[2], opacity[2]) == (0, 0)
    assert 52 <= depth_m[3] <= 55
    assert 0 < opacity[3] < opacity[1] < opacity[0]


@pytest.mark.parametrize(
    ("content", "query", "status", "words"),
    [
        (b"", {}, 422, "are no rays of 6 float32"),
        (bytes(25), {}, 422, "25 bytes, which are no rays"),
        (bytes(24), {}, 422, "direction of length 1"),
        (np.float32([0, 0, 1e9, 0, 0, -1]).tobytes(), {}, 422, "within 1,000 km"),
        (np.float32([0, 0, 9, 0, 0, np.nan]).tobytes(), {}, 422, "direction of length 1"),
        (np.float32([0, 0, 9, 0, 0, -1, 5, 4]).tobytes(), {"columns": 8}, 422, "less than far"),
        (bytes(24), {"checkpoint": "three"}, 404, "three"),
        (bytes(24), {"columns": 7}, 422, "columns"),
        (bytes(24), {"sample": 8}, 422, "did you mean samples"),
        (bytes(24), {"expert": 2}, 422, "direction of length 1"),
    ],
)
def test_rays_that_are_none(halves: Path, content: bytes, query: dict, status: int, words: str) -> None:
    params = {"checkpoint": "two", "prefix": "last", **query}
    answer = Endpoint(halves).client().post("/rays", params=params, content=content)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text


def test_a_pixel_is_a_place_on_earth(halves: Path, truth: Picture) -> None:
    pixels = [[20.5, 15.5], [3.5, 28.5], [20.5, 0.5]]
    view = body(pixels=pixels)
    answer = Endpoint(halves).client().post("/pick", json=view)
    assert answer.status_code == 200, answer.text
    picked = answer.json()
    assert (picked["scene"], picked["step"], picked["flight"]) == ("block", 100, "before")
    rays = rays_of(OBLIQUE).reshape(H, W, 6).astype(np.float64)
    for (x, y), place in zip(pixels, picked["places"], strict=True):
        row, column = int(y), int(x)
        if truth.opacity[row, column] < SURFACE_OPACITY:
            assert place is None
            continue
        enu = rays[row, column, :3] + rays[row, column, 3:] * truth.depth_m[row, column]
        assert np.abs(enu - place["enu_m"]).max() < 0.01
        expected = enu_to_geodetic(enu, GeodeticReference(50.0, 7.0, 100.0))
        told = [place[name] for name in ("latitude_deg", "longitude_deg", "height_m")]
        assert np.abs(expected - told)[:2].max() < 2e-7
        assert place["height_m"] == pytest.approx(expected[2], abs=0.01)
        assert place["expert"] == truth.expert[row, column]
    assert sum(place is not None for place in picked["places"]) >= 1


def test_sky_is_no_place(halves: Path) -> None:
    up = look_at((0, 0, 60), (0, 1, 90)).tolist()
    answer = Endpoint(halves).client().post("/pick", json=body(c2w=up, pixels=[[1.5, 1.5]]))
    assert (answer.status_code, "No surface" in answer.json()["error"]) == (404, True)


def test_only_experts_in_view_are_loaded(halves: Path) -> None:
    endpoint = Endpoint(halves)
    west = look_at((-12, 0, 60), (-12, 0, 0)).tolist()
    answer = endpoint.client().post("/render", json=body(c2w=west, fov_y_deg=10.0))
    assert answer.headers["x-anerf-experts"] == "1"
    assert endpoint.service.cache.n_values == 1
    # What only that expert shows is what all would show together.
    model = load_scene_model(str(halves / "two"), "last")
    truth = render_picture(model, Camera.from_fov(W, H, 10), np.array(west), samples=SAMPLES)
    assert np.abs(numbers(endpoint, c2w=west, fov_y_deg=10.0) - truth.rgb).max() <= LEVEL
    numbers(endpoint, layer="rgb")
    assert endpoint.service.cache.n_values == 2
    up = look_at((0, 0, 60), (0, 1, 90)).tolist()
    sky = numbers(endpoint, c2w=up)
    assert np.allclose(sky, 0.5, atol=LEVEL), "the background is shown all the same"


def test_an_expert_alone_keeps_its_number(halves: Path) -> None:
    east = look_at((12, 0, 60), (12, 0, 0)).tolist()
    endpoint = Endpoint(halves)
    assert set(np.unique(numbers(endpoint, c2w=east, fov_y_deg=10.0, layer="expert"))) <= {-1, 1}
    model = load_scene_model(str(halves / "two"), "last")
    truth = render_picture(model, CAMERA, OBLIQUE, samples=SAMPLES, only_expert=1)
    assert np.abs(numbers(endpoint, expert=1) - truth.rgb).max() <= LEVEL
    answer = endpoint.client().post("/render", json=body(expert=2))
    assert (answer.status_code, "0 to 1" in answer.text) == (422, True)


def test_the_cache_has_a_budget_in_bytes_and_equal_shards_are_one(halves: Path) -> None:
    service = RenderService(cache_bytes=1)
    endpoint = Endpoint(halves, service)
    whole = numbers(endpoint)
    state = service.cache
    assert (state.n_values, state.n_loaded) == (1, 2)
    assert np.array_equal(numbers(endpoint), whole)
    roomy = RenderService()
    source = find_source(halves, "two", "last")
    request = RenderRequest.model_validate(body())
    roomy.tile(source, request, (0, H), lambda: False)
    copy = halves / "again" / "checkpoints" / "step0000100"
    copy.mkdir(parents=True)
    for file in Path(source.folder).rglob("*.*"):
        target = copy / file.relative_to(source.folder)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(file.read_bytes())
    roomy.tile(find_source(halves, "again", "last"), request, (0, H), lambda: False)
    assert roomy.cache.n_loaded == 2


def test_near_and_far_of_pictures(halves: Path, truth: Picture) -> None:
    endpoint = Endpoint(halves)
    near_m = float(np.median(truth.depth_m[truth.depth_m > 0]))
    depth_m = numbers(endpoint, layer="depth", near_m=near_m)
    assert depth_m[depth_m > 0].min() >= near_m - 0.01
    assert not numbers(endpoint, layer="opacity", far_m=10.0).any()


def test_tiles_cover_the_picture_evenly() -> None:
    assert tile_rows(512, 384, 200_000) == [(0, 384)]
    assert tile_rows(1000, 1000, 200_000) == [(0, 200), (200, 400), (400, 600), (600, 800), (800, 1000)]
    assert tile_rows(2048, 3, 100) == [(0, 1), (1, 2), (2, 3)]
