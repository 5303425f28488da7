"""The HTTP face on a real (tiny, untrained) checkpoint, without Ray."""

import asyncio
import io
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from anerf.checkpoint.load import load_scene_model
from anerf.geometry.cameras import Camera
from anerf.jobs.folder import accept_job
from anerf.jobs.spec import parse_job
from anerf.render.picture import render_picture
from serve_apps.service import RenderService
from tests.serve_apps.endpoint import Endpoint


@pytest.fixture
def client(out_root: Path) -> TestClient:
    return Endpoint(out_root).client()


def _body(down: list[list[float]], **changes: Any) -> dict[str, Any]:
    return {
        "checkpoint": "demo",
        "prefix": "last",
        "c2w": down,
        "width": 24,
        "height": 16,
        "samples": 4,
        **changes,
    }


def test_the_picture_is_that_of_the_renderer(
    client: TestClient, out_root: Path, down: list[list[float]]
) -> None:
    answer = client.post("/render", json=_body(down, format="npy"))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-npy"
    rgb = np.load(io.BytesIO(answer.content), allow_pickle=False)
    model = load_scene_model(str(out_root / "demo"), "last")
    truth = render_picture(model, Camera.from_fov(24, 16, 60), np.array(down), samples=4)
    assert np.array_equal(rgb, truth.rgb)
    assert rgb.std() > 0.001
    png = client.post("/render", json=_body(down))
    with Image.open(io.BytesIO(png.content)) as image:
        assert np.abs(np.asarray(image) / 255 - truth.rgb).max() <= 0.51 / 255
    assert png.headers["x-anerf-step"] == "200"
    assert png.headers["x-anerf-flight"] == "before"
    assert png.headers["x-anerf-scene"] == "block"


def test_a_request_may_ask_for_another_sampler_than_the_checkpoints(
    client: TestClient, out_root: Path, down: list[list[float]]
) -> None:
    model = load_scene_model(str(out_root / "demo"), "last")
    seen = {}
    for sampler in ("march", "importance"):
        answer = client.post("/render", json=_body(down, format="npy", sampler=sampler))
        seen[sampler] = np.load(io.BytesIO(answer.content), allow_pickle=False)
        asked = model.sampled(sampler, None)
        truth = render_picture(asked, Camera.from_fov(24, 16, 60), np.array(down), samples=4)
        assert np.array_equal(seen[sampler], truth.rgb)
    assert not np.array_equal(seen["march"], seen["importance"])


@pytest.mark.parametrize(
    ("layer", "file_format", "kind"),
    [
        (a, b, c)
        for a in ("rgb", "depth", "opacity", "expert", "normals")
        for b, c in (("png", "image/png"), ("jpeg", "image/jpeg"), ("webp", "image/webp"))
    ],
)
def test_every_layer_as_a_picture(
    client: TestClient, down: list[list[float]], layer: str, file_format: str, kind: str
) -> None:
    answer = client.post("/render", json=_body(down, layer=layer, format=file_format))
    assert answer.headers["content-type"] == kind
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.size, image.mode) == (file_format.upper(), (24, 16), "RGB")
    assert ("x-anerf-depth-range-m" in answer.headers) == (layer == "depth")


def test_depth_is_in_metres(client: TestClient, down: list[list[float]]) -> None:
    answer = client.post("/render", json=_body(down, layer="depth", format="npy"))
    depth_m = np.load(io.BytesIO(answer.content), allow_pickle=False)
    assert depth_m.shape == (16, 24)
    seen = depth_m[depth_m > 0]
    # From 60 m above the ground into a box that ends at 15 m.
    assert seen.size > 0
    assert seen.min() > 44
    assert seen.max() < 85


def test_a_place_on_earth_and_a_flight(client: TestClient) -> None:
    view = {
        "eye": {"latitude_deg": 50.0, "longitude_deg": 7.0, "height_m": 160.0},
        "target": {"latitude_deg": 50.0, "longitude_deg": 7.0, "height_m": 100.0},
    }
    body = {
        "checkpoint": "demo",
        "prefix": "step100",
        "look_at": view,
        "width": 16,
        "height": 16,
        "flight": "nach",
    }
    answer = client.post("/render", json=body)
    assert answer.status_code == 200, answer.text
    assert (answer.headers["x-anerf-step"], answer.headers["x-anerf-flight"]) == ("100", "nach")


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"checkpoint": "../secret"}, 403, "not inside the output folder"),
        ({"checkpoint": "nothing"}, 404, "train first"),
        ({"prefix": "step300"}, 404, "complete are steps 100, 200"),
        ({"prefix": "best"}, 404, "ask for last or step"),
        ({"flight": "later"}, 422, "before, nach"),
        ({"expert": 7}, 422, "expert 7 does not exist"),
        ({"layers": "rgb"}, 422, "did you mean layer"),
        ({"c2w": [[0.0] * 4] * 3}, 422, "not a rotation"),
    ],
)
def test_refusals_are_one_clear_sentence(
    client: TestClient, down: list[list[float]], changes: dict[str, Any], status: int, words: str
) -> None:
    answer = client.post("/render", json=_body(down, **changes))
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_a_truncated_shard_is_a_conflict_until_it_is_whole_again(
    client: TestClient, out_root: Path, down: list[list[float]]
) -> None:
    shard = out_root / "demo" / "checkpoints" / "step0000200" / "experts" / "0.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    answer = client.post("/render", json=_body(down))
    assert (answer.status_code, "experts/0.safetensors" in answer.json()["error"]) == (409, True)
    shard.write_bytes(whole)
    assert client.post("/render", json=_body(down)).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"checkpoint": NaN}', b"\xff\xfe", b"[" * 50_000]
)
def test_bodies_that_are_no_request(client: TestClient, body: bytes) -> None:
    answer = client.post("/render", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"]


def test_large_and_unmeasured_bodies_are_not_read(client: TestClient) -> None:
    assert client.post("/render", content=b" " * (64 * 1024 + 1)).status_code == 413
    assert client.post("/render", content=iter([b"{", b"}"])).status_code == 411


def test_scenes_lists_what_can_be_rendered_and_what_cannot(client: TestClient, out_root: Path) -> None:
    broken = out_root / "broken" / "checkpoints" / "step0000001"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{")
    (out_root / "unfinished" / "checkpoints" / "step0000001").mkdir(parents=True)
    found = {entry["checkpoint"]: entry for entry in client.get("/scenes").json()}
    assert set(found) == {"demo", "broken"}
    assert "damaged" in found["broken"]["problem"]
    demo = found["demo"]
    assert demo["steps"] == [100, 200]
    assert demo["reference"] == {"latitude_deg": 50.0, "longitude_deg": 7.0, "height_m": 100.0}
    assert demo["box"] == [[-20, -20, 0], [20, 20, 15]]
    assert (demo["flights"], demo["experts"], demo["metrics"]) == (["before", "nach"], 1, {"psnr": 24.1})


def test_health_really_renders(client: TestClient, out_root: Path, tmp_path: Path) -> None:
    assert client.get("/healthz").json()["rendered"].startswith("demo, step 200, 8 x 8 pixels")
    empty = Endpoint(tmp_path / "empty").client()
    assert empty.get("/healthz").json() == {
        "status": "ok",
        "rendered": "nothing rendered: no usable checkpoint yet",
    }


def test_the_api_describes_itself(client: TestClient) -> None:
    api = client.get("/openapi.json").json()
    assert set(api["paths"]) == {
        "/render", "/rays", "/pick", "/scenes", "/checkpoints", "/healthz", "/metrics",
    }  # fmt: skip
    assert set(api["paths"]["/render"]["post"]["responses"]["200"]["content"]) == {
        "image/png", "image/jpeg", "image/webp", "application/x-npy",
    }  # fmt: skip
    assert "HTTPValidationError" not in json.dumps(api)
    assert client.get("/docs").status_code == 200
    assert client.get("/nowhere").json() == {"error": "Not Found"}


def test_a_client_that_goes_away_stops_its_render(out_root: Path, down: list[list[float]]) -> None:
    stopped, started = threading.Event(), threading.Event()

    class Watched(RenderService):
        def tile(self, source: Any, request: Any, rows: Any, should_stop: Any) -> Any:
            started.set()
            while not should_stop():
                pass
            stopped.set()
            return super().tile(source, request, rows, lambda: False)

    async def leave() -> None:
        transport = httpx.ASGITransport(Endpoint(out_root, Watched()).api)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            request = asyncio.create_task(client.post("/render", json=_body(down)))
            await asyncio.to_thread(started.wait, 60)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)

    asyncio.run(leave())
    assert stopped.wait(60)


def test_a_job_that_saves_elsewhere_is_rendered_from_there(
    client: TestClient, out_root: Path, down: list[list[float]], tmp_path: Path
) -> None:
    elsewhere = f"file://{tmp_path}/elsewhere"
    job = parse_job({"op": "train", "job_id": "far", "scene": "/s", "checkpoint_root": elsewhere})
    accept_job(job, out_root, "run")
    shutil.move(out_root / "demo" / "checkpoints", tmp_path / "elsewhere" / "far")
    answer = client.post("/render", json=_body(down, checkpoint="far"))
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-anerf-step"] == "200"
