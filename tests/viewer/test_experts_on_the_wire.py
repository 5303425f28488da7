"""Experts can be shown alone where the models that are shown have them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from anerf.geometry.rays import look_at
from tests.serve_apps.conftest import save_tiny_checkpoint
from tests.viewer.test_viewer_on_the_wire import FOV_Y_DEG, POSE, House, rendered, shows
from tests.viewer.wire import WireClient

UNDIVIDED = "undivided, step 50"
ELSEWHERE = look_at((-30.0, -30.0, 50.0), (0.0, 0.0, 0.0))


class Quarter(House):
    """Of two experts in its viewer's checkpoint; another one has a single expert."""

    def __init__(self, out: Path) -> None:
        save_tiny_checkpoint(out / "undivided", 50, seed=4)
        super().__init__(out)


@pytest.fixture
def quarter(tmp_path: Path) -> Iterator[Quarter]:
    made = Quarter(tmp_path)
    yield made
    made.viewer.stop()


@pytest.fixture
def client(quarter: Quarter) -> Iterator[WireClient]:
    opened = WireClient(quarter.viewer.url)
    opened.stand(quarter.frame, POSE, FOV_Y_DEG)
    opened.next_final()
    yield opened
    opened.close()


def choices(client: WireClient) -> list[str]:
    return list(client.props("Experts")["options"])


def test_another_checkpoint_offers_its_own_experts(quarter: Quarter, client: WireClient) -> None:
    undivided = quarter.shelf.get(UNDIVIDED, quarter.model)
    client.set("Experts", "expert 1")
    shows(client, rendered(quarter.model, only_expert=1))
    client.set("After", UNDIVIDED)
    shows(client, rendered(undivided))
    client.wait(lambda: choices(client) == ["all", "expert 0"])
    client.wait(lambda: client.props("Experts")["value"] == "all")
    client.set("Experts", "expert 1")  # of a page that has not heard of it yet
    client.stand(quarter.frame, ELSEWHERE, FOV_Y_DEG)  # where it stood, the same picture is there already
    shows(client, rendered(undivided, ELSEWHERE))

    client.set("After", quarter.exhibit.name)
    shows(client, rendered(quarter.model, ELSEWHERE))
    client.wait(lambda: choices(client) == ["all", "expert 0", "expert 1"])
    client.set("Experts", "expert 1")
    shows(client, rendered(quarter.model, ELSEWHERE, only_expert=1))
    assert client.of_type("Notification") == []


def test_two_checkpoints_are_compared_by_the_experts_that_both_have(
    quarter: Quarter, client: WireClient
) -> None:
    client.set("Before", UNDIVIDED)
    client.set("Experts", "expert 1")
    shows(client, rendered(quarter.model, only_expert=1))
    client.set("Show", "before")
    shows(client, rendered(quarter.shelf.get(UNDIVIDED, quarter.model)))
    client.wait(lambda: choices(client) == ["all", "expert 0"])
    assert client.of_type("Notification") == []
