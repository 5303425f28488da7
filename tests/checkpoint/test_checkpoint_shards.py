"""Shards: tensors come back bit for bit, and every kind of damage is named."""

import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from anerf.checkpoint import storage
from anerf.checkpoint.manifest import ShardRecord
from anerf.checkpoint.resolve import expert_file, shared_file
from anerf.checkpoint.shards import copy_shard, map_shard, read_shard, write_shard
from anerf.errors import CheckpointError


@pytest.fixture
def step(tmp_path: Path) -> str:
    return str(tmp_path / "checkpoints" / "step0000007")


def _tensors() -> dict[str, torch.Tensor]:
    flat = torch.arange(24, dtype=torch.float32)
    return {
        "grid": flat[:16].view(4, 4),
        "mlp": flat[16:],
        "transposed": flat.view(6, 4).T,
        "half": torch.tensor([1.5, -2.0], dtype=torch.float16),
        "step": torch.tensor(200),
        "occupied": torch.tensor([True, False]),
        "nan": torch.tensor([float("nan")]),
    }


def test_tensors_come_back_bit_for_bit_and_can_be_trained_on(step: str) -> None:
    record = write_shard(expert_file(step, 3), _tensors(), {"expert": "3"})
    assert record.file == "experts/3.safetensors"
    on_disk = (Path(step) / record.file).read_bytes()
    assert record.n_bytes == len(on_disk)
    assert record.sha256 == hashlib.sha256(on_disk).hexdigest()
    back = read_shard(step, record)
    for name, tensor in _tensors().items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name].nan_to_num(9), tensor.nan_to_num(9)), name
    back["grid"].add_(1)
    assert back["mlp"][0] == 16


def test_the_same_tensors_make_the_same_file(step: str) -> None:
    meta = {f"key{i}": str(i) for i in range(8)}
    first = write_shard(expert_file(step, 0), _tensors(), meta)
    assert write_shard(expert_file(step, 0), _tensors(), meta) == first


def test_shared_shard_is_named_by_its_place(step: str) -> None:
    assert write_shard(shared_file(step), _tensors(), {}).file == "shared.safetensors"


def test_only_a_whole_shard_is_copied_byte_for_byte(step: str, tmp_path: Path) -> None:
    record = write_shard(expert_file(step, 0), _tensors(), {})
    later = str(tmp_path / "checkpoints" / "step0000008")
    assert copy_shard(step, record, expert_file(later, 0)) == record
    assert (Path(later) / record.file).read_bytes() == (Path(step) / record.file).read_bytes()
    (Path(step) / record.file).write_bytes(b"short")
    with pytest.raises(CheckpointError, match="5 bytes where its manifest says"):
        copy_shard(step, record, expert_file(str(tmp_path / "checkpoints" / "step0000009"), 0))
    assert not (tmp_path / "checkpoints" / "step0000009").exists()


def test_a_shard_outside_a_step_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not in a step folder"):
        write_shard(str(tmp_path / "experts" / "0.safetensors"), _tensors(), {})


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 100, -100, -1])
def test_truncation_anywhere_names_the_shard_and_the_remedy(step: str, keep: int) -> None:
    record = write_shard(expert_file(step, 0), _tensors(), {})
    path = Path(step) / record.file
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"experts/0\.safetensors .*bytes where .*use another step"):
        read_shard(step, record)


def test_a_flipped_bit_is_found(step: str) -> None:
    record = write_shard(expert_file(step, 0), _tensors(), {})
    path = Path(step) / record.file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="sha256"):
        read_shard(step, record)


def test_a_missing_shard_is_named(step: str) -> None:
    record = write_shard(expert_file(step, 0), _tensors(), {})
    with pytest.raises(CheckpointError, match=r"experts/1\.safetensors .* is missing"):
        read_shard(step, dataclasses.replace(record, file="experts/1.safetensors"))


@pytest.mark.parametrize(
    "data", [b"x" * 64, b"\xff" * 64, (10**9).to_bytes(8, "little") + b"{}", b"\x80\x04."]
)
def test_a_file_that_is_no_safetensors_is_refused(step: str, data: bytes) -> None:
    path = Path(step) / "experts" / "0.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    record = ShardRecord("experts/0.safetensors", hashlib.sha256(data).hexdigest(), len(data))
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_shard(step, record)


def test_a_writer_killed_at_any_moment_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    target = tmp_path / "step0000001" / "experts" / "0.safetensors"
    script = (
        "import sys, torch\n"
        "from anerf.checkpoint.shards import write_shard\n"
        "i = 0\n"
        "while True:\n"
        "    r = write_shard(sys.argv[1], {'x': torch.full((200_000,), float(i))}, {})\n"
        "    i += 1\n"
        "    sys.stdout.write('.'); sys.stdout.flush()\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.read(5)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    data = target.read_bytes()
    record = ShardRecord("experts/0.safetensors", hashlib.sha256(data).hexdigest(), len(data))
    x = read_shard(str(tmp_path / "step0000001"), record)["x"]
    assert x.shape == (200_000,)
    assert bool((x == x[0]).all())


def test_an_unwritable_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "step0000001").write_text("a file where a folder should be")
    with pytest.raises(CheckpointError, match="step0000001"):
        write_shard(expert_file(str(tmp_path / "step0000001"), 0), _tensors(), {})


def test_locations_keep_their_query_and_never_show_keys() -> None:
    uri = "s3://key:secret@bucket/jobs/a?endpoint_override=http://127.0.0.1:9000"
    assert storage.join(uri, "experts", "0") == (
        "s3://key:secret@bucket/jobs/a/experts/0?endpoint_override=http://127.0.0.1:9000"
    )
    assert storage.shown(uri) == "s3://bucket/jobs/a"
    assert storage.join("/a/b/", "c") == "/a/b/c"
    assert storage.join("/", "c") == "/c"


def test_file_uris_work_as_paths_do(tmp_path: Path) -> None:
    step = f"file://{tmp_path}/checkpoints/step0000001"
    record = write_shard(expert_file(step, 0), {"x": torch.ones(3)}, {})
    assert torch.equal(read_shard(str(tmp_path / "checkpoints" / "step0000001"), record)["x"], torch.ones(3))


def test_an_unknown_store_is_named() -> None:
    with pytest.raises(CheckpointError, match="cannot be opened"):
        storage.read_bytes("nonsense://bucket/x")


def test_a_mapped_shard_is_the_read_one_and_lies_in_its_file(step: str) -> None:
    uri = expert_file(step, 0)
    record = write_shard(uri, _tensors(), {})
    mapped, read = map_shard(step, record), read_shard(step, record)
    assert mapped.keys() == read.keys()
    for name, tensor in mapped.items():
        assert torch.equal(tensor.nan_to_num(9), read[name].nan_to_num(9))
        assert _mapped_file(tensor) == uri
        assert _mapped_file(read[name]) != uri
    # One that takes the file's place does not change what is mapped.
    write_shard(uri, {"other": torch.ones(1000)}, {})
    assert all(torch.equal(t.nan_to_num(9), read[n].nan_to_num(9)) for n, t in mapped.items())
    with pytest.raises(CheckpointError, match=r"experts/0\.safetensors .* bytes where"):
        map_shard(step, record)


def test_a_shard_that_is_not_whole_is_not_mapped(step: str) -> None:
    uri = expert_file(step, 0)
    record = write_shard(uri, _tensors(), {})
    Path(uri).write_bytes(Path(uri).read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="bytes where its manifest says"):
        map_shard(step, record)
    Path(uri).unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        map_shard(step, record)
    data = b"no safetensors"
    Path(uri).write_bytes(data)
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        map_shard(step, ShardRecord(record.file, hashlib.sha256(data).hexdigest(), len(data)))


def _mapped_file(tensor: torch.Tensor) -> str:
    """The file that a tensor's memory belongs to (Linux); none for ordinary memory."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, *rest = line.split(maxsplit=5)
        first, end = (int(address, 16) for address in addresses.split("-"))
        if first <= tensor.data_ptr() < end:
            return rest[4] if len(rest) == 5 else ""
    return ""
