"""Experts can be shown alone where the models that are shown have them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve_apps.conftest import save_tiny_checkpoint
from tests.viewer.test_viewer_on_the_wire import FOV_Y_DEG, POSE, House, rendered, worst
from tests.viewer.wire import WireClient

UNDIVIDED = "undivided, step 50"


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
    client.set("Experts", "expert 1")
    client.next_final()
    client.set("After", UNDIVIDED)
    undivided = rendered(quarter.shelf.get(UNDIVIDED, quarter.model))
    assert worst(client.next_final(), undivided) <= 1
    assert (choices(client), client.props("Experts")["value"]) == (["all", "expert 0"], "all")
    client.set("Experts", "expert 1")  # of a page that has not heard of it yet
    client.stand(quarter.frame, POSE, FOV_Y_DEG)
    assert worst(client.next_final(), undivided) <= 1

    client.set("After", quarter.exhibit.name)
    client.next_final()
    assert choices(client) == ["all", "expert 0", "expert 1"]
    client.set("Experts", "expert 1")
    assert worst(client.next_final(), rendered(quarter.model, only_expert=1)) <= 1
    assert client.of_type("Notification") == []


def test_two_checkpoints_are_compared_by_the_experts_that_both_have(
    quarter: Quarter, client: WireClient
) -> None:
    client.set("Before", UNDIVIDED)
    client.set("Experts", "expert 1")
    client.next_final()
    client.set("Show", "before")
    before = rendered(quarter.shelf.get(UNDIVIDED, quarter.model))
    assert worst(client.next_final(), before) <= 1
    assert choices(client) == ["all", "expert 0"]
    assert client.of_type("Notification") == []
