"""The viewer as people use it: a real page in Chromium, real actors behind it. Run this on loopback."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image
from playwright.sync_api import Browser

from anerf.jobs.folder import accept_job
from anerf.jobs.spec import parse_job
from anerf.jobs.states import JobState
from tests.browser.person import CHANGED, Person, change
from tests.ray_place import ray_of_our_own

pytestmark = pytest.mark.integration

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
_log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def ray_here() -> Iterator[Any]:
    with ray_of_our_own(namespace="anerf") as ray:
        yield ray


@pytest.fixture(scope="module")
def out(ray_here: Any, train_job: Callable[..., dict[str, Any]], tmp_path_factory: Any) -> Path:
    """An output folder with a training of some seconds, `town`."""
    from actors.starting import start_job

    folder = tmp_path_factory.mktemp("town") / "logs"
    content = train_job(
        job_id="town", outer_steps=300, rays_per_step=1024, ray_samples=16, save_step=300, sync_step=100,
        n_levels=6, log2_hashmap_size=14, encoding_lr=0.03, sigma_lr=0.006, color_lr=0.006,
        experts_per_actor=2,
    )  # fmt: skip
    job = start_job(parse_job(content), folder)
    deadline = time.monotonic() + 180
    while not job.show().record.state.is_terminal:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert job.show().record.state is JobState.SUCCEEDED, job.show().record.message
    return folder


@pytest.fixture(scope="module")
def viewer(ray_here: Any, out: Path) -> Iterator[tuple[str, Any]]:
    """The viewer's address and the reference that says how it ended."""
    from actors.viewer import ViewerActor

    job = parse_job(
        {"op": "view", "job_id": "look", "checkpoint_path": str(out / "town"), "prefix": "last",
         "port": 0, "viewer_timeout": 3600, "ray_samples": 16}
    )  # fmt: skip
    actor = cast(Any, ViewerActor).remote(str(accept_job(job, out, "run").folder))
    run = actor.run.remote()
    deadline = time.monotonic() + 60
    while (url := ray_here.get(actor.status.remote())["url"]) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield url, run
    ray_here.kill(actor)


def test_a_phone_shows_the_scene_and_the_panels(
    viewer: tuple[str, Any], browser: Browser, shots: Path
) -> None:
    page = browser.new_page(viewport=PHONE, has_touch=True, is_mobile=True)  # pyright: ignore[reportArgumentType]
    person = Person(page, shots)
    person.open(viewer[0])
    person.settle()
    person.shoot("phone")
    for name in ("Places", "Time", "Path", "Live", "View"):
        person.tab(name)
        page.wait_for_timeout(300)
        person.shoot(f"phone-{name.lower()}")
    width = page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= PHONE["width"], "nothing reaches beyond the screen"
    page.close()


def test_a_person_looks_adapts_and_ends_it(
    ray_here: Any, viewer: tuple[str, Any], browser: Browser, out: Path, shots: Path
) -> None:
    url, run = viewer
    page = browser.new_page(viewport=DESKTOP, accept_downloads=True)  # pyright: ignore[reportArgumentType]
    person = Person(page, shots)
    first_s = person.open(url)
    _log.info("first picture %.2f s after opening the page", first_s)
    person.settle()
    start = person.shoot("opened")
    page.locator(".mantine-Notification-closeButton").first.click()  # of software rendering
    assert start[300:700, 100:800].std() > 5, "the picture is blank"

    before, shown, began = person.scene(), person.n_pictures(), time.monotonic()
    person.drag((400, 500), (560, 470), steps=60)
    rate = (person.n_pictures() - shown) / (time.monotonic() - began)
    size = page.get_by_text("pixels in").inner_text()
    _log.info("%.1f pictures a second while turning, the last: %s", rate, size)
    assert rate > 2
    person.see_other_than(before)
    person.shoot("orbited")

    before = person.scene()
    person.choose("Layer", "depth")
    person.see_other_than(before)
    person.shoot("depth")
    page.get_by_text("Depth along the ray").wait_for()
    for layer in ("experts", "normals", "opacity"):
        person.choose("Layer", layer)
        person.settle()
        person.shoot(layer)
    person.choose("Layer", "colour")

    person.choose("Experts", "expert 1")
    person.see_other_than(before)
    person.shoot("one-expert")
    person.choose("Experts", "all")
    person.settle()

    for part in ("Experts' boxes", "Cameras", "Points"):
        person.tick(part)
    page.wait_for_timeout(1000)
    person.shoot("boxes-cameras-points")
    for part in ("Experts' boxes", "Cameras", "Points"):
        person.tick(part)

    person.tab("Places")
    person.press("Overview")
    person.settle()
    page.mouse.click(440, 420)
    page.get_by_text("Clicked:").wait_for(timeout=20_000)
    person.tick("Measure between two clicks")
    page.mouse.click(400, 400)
    page.get_by_text("Now click the other end").wait_for(timeout=20_000)
    page.mouse.click(560, 470)
    page.get_by_text("on the level").wait_for(timeout=20_000)
    page.wait_for_timeout(800)
    person.shoot("measured")
    person.press("Clear marks")
    before = person.scene()
    person.press("next")
    page.get_by_text("from the photograph").wait_for(timeout=30_000)
    person.see_other_than(before)
    person.shoot("at-a-photograph")

    person.press("Overview")
    person.settle()
    person.tab("Path")
    person.press("Add this view")
    person.drag((400, 500), (520, 480))
    person.settle()
    person.press("Add this view")
    page.get_by_text("2 views, 3.0 s").wait_for()
    person.drag((400, 400), (400, 300), steps=4)
    person.settle()
    person.choose("Key frame", "1")
    page.wait_for_timeout(700)
    person.shoot("path")
    person.press("save")
    page.get_by_text("Saved: path").wait_for()
    assert (out / "paths" / "path.json").is_file()
    person.control("Frames a second").fill("8")
    person.press("Render video")
    page.get_by_text(re.compile("frame [0-9]+ of 24")).wait_for(timeout=60_000)
    person.shoot("filming")
    page.get_by_text(": succeeded").wait_for(timeout=120_000)
    (video,) = out.glob("*/video.mp4")
    assert video.stat().st_size > 10_000
    person.shoot("filmed")
    person.press("clear")

    person.tab("Live")
    page.wait_for_timeout(500)
    person.shoot("live")
    before = person.scene()
    person.control("Steps").fill("2000")
    person.press("Start adapting")
    page.locator(".uplot").first.wait_for(timeout=90_000)
    person.until(lambda: change(before, person.scene()) > CHANGED, 60)
    chart = page.locator(".uplot canvas").first
    began = chart.screenshot()
    person.shoot("adapting")
    person.until(lambda: chart.screenshot() != began)
    person.press("pause")
    page.get_by_text(": paused").wait_for(timeout=20_000)
    person.shoot("paused")
    person.press("stop")
    page.get_by_text("succeeded").first.wait_for(timeout=120_000)
    person.settle()
    person.shoot("adapted")

    person.tab("Time")
    page.wait_for_timeout(500)
    person.choose("Show", "wipe")
    person.settle()
    person.shoot("wipe")
    person.choose("Show", "difference")
    person.settle()
    person.shoot("difference")

    person.tab("View")
    with page.expect_download(timeout=60_000) as download:
        person.press("Screenshot")
    file = shots / "downloaded.png"
    download.value.save_as(file)
    assert Image.open(file).size[0] == 512

    person.press("End the viewer")
    page.get_by_text("End the viewer?").wait_for()
    person.shoot("end")
    person.press("End it")
    assert "was open" in ray_here.get(run, timeout=30)["message"]
    page.close()
