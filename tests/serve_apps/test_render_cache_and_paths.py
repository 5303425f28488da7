"""Models are loaded once and few are kept; client paths stay inside."""

import threading
from pathlib import Path

import pytest

from serve_apps.cache import LruCache
from serve_apps.confine import OutsideError, inside


def test_the_least_recently_used_goes() -> None:
    cache: LruCache[str, str] = LruCache(2)
    for key in ("a", "b", "a", "c"):
        assert cache.get(key, lambda key=key: key.upper()) == key.upper()
    assert cache.keys() == ["a", "c"]
    assert cache.get("a", lambda: "loaded again") == "A"
    assert cache.get("b", lambda: "loaded again") == "loaded again"


def test_many_threads_load_once_and_do_not_block_others() -> None:
    cache: LruCache[str, int] = LruCache(2)
    loads, seen = [], []
    may_finish = threading.Event()

    def slow() -> int:
        loads.append(1)
        assert may_finish.wait(60)
        return 7

    threads = [threading.Thread(target=lambda: seen.append(cache.get("slow", slow))) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert cache.get("quick", lambda: 1) == 1
    assert seen == []
    may_finish.set()
    for thread in threads:
        thread.join()
    assert (seen, len(loads)) == ([7] * 6, 1)


def test_a_failed_load_leaves_no_trace() -> None:
    cache: LruCache[str, int] = LruCache(2)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: 1 // 0)
    assert cache.keys() == []
    assert cache.get("a", lambda: 3) == 3


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "logs" / "demo" / "checkpoints").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "logs" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "logs-other").mkdir()
    (tmp_path / "logs" / "loop").symlink_to(tmp_path / "logs" / "loop")
    return tmp_path / "logs"


def test_names_and_paths_inside(root: Path) -> None:
    assert inside(root, "demo") == root / "demo"
    assert inside(root, "demo/checkpoints/../checkpoints") == root / "demo" / "checkpoints"
    assert inside(root, str(root / "demo")) == root / "demo"


@pytest.mark.parametrize(
    "named",
    [
        "..",
        "../secret",
        "/etc",
        "link",
        "link/x",
        "../logs-other",
        "demo/../../secret",
        "a\0b",
        "s3://b/c",
        "x" * 9999,
    ],
)
def test_everything_else_is_refused(root: Path, named: str) -> None:
    with pytest.raises(OutsideError, match="not inside the output folder") as caught:
        inside(root, named)
    assert str(root.parent) not in str(caught.value)


def test_large_values_push_out_what_was_used_longest_ago() -> None:
    cache: LruCache[str, bytes] = LruCache(10, len)
    for key, size in (("a", 4), ("b", 4), ("a", 4), ("c", 5)):
        cache.get(key, lambda size=size: bytes(size))
    assert (cache.keys(), cache.state.size, cache.state.n_loaded, cache.state.n_asked) == (
        ["a", "c"],
        9,
        3,
        4,
    )
    # One that has no room even alone is given, and is all that stays.
    assert len(cache.get("huge", lambda: bytes(99))) == 99
    assert cache.keys() == ["huge"]
    cache.get("a", lambda: bytes(1))
    assert cache.keys() == ["a"]
