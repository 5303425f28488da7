"""Stacks on a Ray that was there before them: one at a time, and up again when that Ray was made anew."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.stack import Stack, read_stack
from tests.run_place import ANERF, Place, cluster, wait_for

pytestmark = pytest.mark.integration

LONG_LIVED = ("ray::Mediator", "ray::KafkaIngestor")


def anerf(place: Place, *arguments: str, out: str, status: int = 0) -> str:
    """What a command about the stack of a folder tells."""
    done = subprocess.run(
        [ANERF, *arguments, "--out", out], capture_output=True, text=True, cwd=place.root,
        env=place.environment, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


def up(place: Place, out: str, status: int = 0) -> str:
    return anerf(
        place, "up", "--no-serve", "--address", place.environment["RAY_ADDRESS"], out=out, status=status
    )


def long_lived(place: Place) -> list[int]:
    """The processes of the Mediator and the ingestor."""
    return [pid for title in LONG_LIVED for pid in place.processes(title)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which no stack is left in the end."""
    folder = tmp_path_factory.mktemp("stacks")
    yield folder
    for file in folder.glob("*/stack.json"):
        subprocess.run([ANERF, "down", "--out", file.parent], check=True, timeout=120)


def test_a_second_stack_is_refused_and_harms_the_first_in_no_way(root: Path) -> None:
    with cluster(root, {}) as place:
        up(place, "first")
        before = long_lived(place)
        assert len(before) == 2
        told = up(place, "second", status=1)
        assert (
            f"has the Mediator of {root / 'first'} already: `anerf down --out {root / 'first'}` ends" in told
        )
        assert read_stack(root / "second") is None
        # What a stack leaves that was there when this Ray was another one.
        address = place.environment["RAY_ADDRESS"]
        stale = Stack(str(root / "second"), str(root / "run"), str(root), address, complete=True)
        stale.save()
        assert "is not complete" in anerf(place, "status", out="second", status=1)
        assert "has the Mediator of" in anerf(place, "jobs", "list", out="second", status=1)
        anerf(place, "down", out="second")
        assert read_stack(root / "second") is None
        assert long_lived(place) == before
        assert "is up already" in up(place, "first")
        assert "Jobs: none" in anerf(place, "status", out="first")
        anerf(place, "down", out="first")
        wait_for(lambda: long_lived(place) == [], timeout_s=30)


def test_a_stack_comes_up_again_on_a_ray_that_was_made_anew(root: Path) -> None:
    with cluster(root, {}) as place:
        up(place, "again")
    with cluster(root, {}) as place:
        assert "is not complete" in anerf(place, "status", out="again", status=1)
        assert "did not end well" in up(place, "again")
        assert len(long_lived(place)) == 2
        assert "Jobs: none" in anerf(place, "status", out="again")
        anerf(place, "down", out="again")
