"""Storage that is out is told apart from what is missing, damaged or forbidden, on disks and on S3."""

import errno
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from anerf.checkpoint import storage
from anerf.checkpoint.resolve import expert_file, step_folder
from anerf.checkpoint.shards import read_shard, write_shard
from anerf.errors import CheckpointError, StorageUnavailable
from anerf.outage import is_outage, outage
from tests.storage_places import S3, S3_KEYS, s3_store, small_disk


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with pytest.MonkeyPatch.context() as patch, s3_store() as store:
        for name, value in S3_KEYS.items():
            patch.setenv(name, value)
        yield store


@pytest.mark.parametrize(
    ("error", "is_out"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError(errno.EIO, "x"), True),
        (OSError(errno.EROFS, "x"), True),
        (OSError(errno.ESTALE, "x"), True),
        (TimeoutError(errno.ETIMEDOUT, "x"), True),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), True),
        (TimeoutError("timed out"), True),
        (OSError("AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7"), True),
        (OSError("AWS Error UNKNOWN (HTTP status 500) during HeadObject operation: x"), True),
        (OSError("AWS Error SLOW_DOWN during PutObject operation: x"), True),
        (OSError("AWS Error UNKNOWN (HTTP status 301) during HeadObject operation: x"), False),
        (OSError("AWS Error ACCESS_DENIED during HeadObject operation: x"), False),
        (OSError("AWS Error NO_SUCH_BUCKET during PutObject operation: x"), False),
        (FileNotFoundError(errno.ENOENT, "x"), False),
        (PermissionError(errno.EACCES, "x"), False),
        (OSError("something else"), False),
        (CheckpointError("damaged"), False),
        (StorageUnavailable("full"), True),
    ],
)
def test_an_outage_is_what_may_go_by_itself(error: BaseException, is_out: bool) -> None:
    assert is_outage(error) is is_out


def test_an_outage_names_the_place_the_reason_and_the_remedy() -> None:
    assert str(outage("/disk", OSError(errno.ENOSPC, "x"))) == (
        f"/disk is not available ({os.strerror(errno.ENOSPC)}): make room there"
    )
    assert str(outage("s3://b", OSError("refused"))) == (
        "s3://b is not available (refused): see that it is up and can be reached"
    )


def test_a_full_disk_keeps_what_it_had_and_takes_more_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", mebibytes=4) as disk:
        folder = step_folder(str(disk.root / "checkpoints"), 1)
        shard = expert_file(folder, 0)
        first = write_shard(shard, {"x": torch.zeros(250_000)}, {})
        disk.fill(leave_bytes=100_000)
        with pytest.raises(StorageUnavailable, match=r"experts/0\.safetensors .*make room there"):
            write_shard(shard, {"x": torch.ones(250_000)}, {})
        with pytest.raises(StorageUnavailable, match="make room there"):
            write_shard(expert_file(folder, 1), {"x": torch.ones(250_000)}, {})
        assert [path.name for path in Path(folder).rglob("*.*")] == ["0.safetensors"], "nothing half written"
        assert not read_shard(folder, first)["x"].any()
        disk.make_room()
        assert read_shard(folder, write_shard(shard, {"x": torch.ones(250_000)}, {}))["x"].all()


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    shard = Path(expert_file(step_folder(str(tmp_path), 1), 0))
    shard.parent.mkdir(parents=True)
    kept = [shard, shard.with_name(".hidden.part"), tmp_path / "best.json"]
    torn = [shard.with_name(f".0.safetensors.{'a1' * 16}.part"), tmp_path / f".best.json.{'0f' * 16}.part"]
    for path in (*kept, *torn):
        path.write_bytes(b"x")
    assert storage.remove_torn(str(tmp_path)) == 2
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in torn)
    assert storage.remove_torn(str(tmp_path / "nowhere")) == 0


def test_s3_keeps_shards_bit_for_bit(s3: S3) -> None:
    root = storage.join(s3.uri, "bits")
    folder = step_folder(root, 7)
    x = torch.arange(3_000_000, dtype=torch.float32)
    record = write_shard(expert_file(folder, 3), {"x": x}, {})
    assert torch.equal(read_shard(folder, record)["x"], x)
    assert storage.folder_names(root) == ["step0000007"]
    assert storage.file_size(storage.join(folder, record.file)) == record.n_bytes
    assert storage.modified_ns(storage.join(folder, record.file)) is not None
    assert storage.remove_torn(root) == 0
    storage.delete_folder(folder)
    assert storage.folder_names(root) == []
    with pytest.raises(CheckpointError, match=r"is missing"):
        read_shard(folder, record)


def test_a_bucket_that_does_not_exist_is_not_waited_for(s3: S3) -> None:
    with pytest.raises(CheckpointError, match="see that the place exists"):
        storage.write_bytes(f"s3://elsewhere/x{s3.options}", b"x")


class Refusing(BaseHTTPRequestHandler):
    """An S3 that answers everything with the same status."""

    status = 507

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_PUT = do_POST = answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize(("status", "expected"), [(507, StorageUnavailable), (403, CheckpointError)])
def test_the_stores_answer_says_whether_to_wait(
    status: int, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in S3_KEYS.items():
        monkeypatch.setenv(name, value)
    handler = type("Handler", (Refusing,), {"status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        place = f"s3://bucket/x?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        for work in (lambda: storage.write_bytes(place, b"x"), lambda: storage.read_bytes(place)):
            with pytest.raises(expected, match="s3://bucket/x"):
                work()
        server.shutdown()
