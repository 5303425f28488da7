"""Tensors of one expert as a safetensors file with a digest. Nothing is ever unpickled."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow.fs as pafs
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from anerf.checkpoint import storage
from anerf.checkpoint.manifest import ShardRecord
from anerf.checkpoint.resolve import file_in_step
from anerf.errors import CheckpointError
from anerf.outage import is_outage, outage

_REMEDY = "use another step, or train again from the last whole checkpoint."


def write_shard(uri: str, tensors: Mapping[str, Tensor], meta: Mapping[str, str]) -> ShardRecord:
    """Publish `tensors` (any device, any shapes) at `uri`, whole or not at all.

    Args:
        uri: `<step folder>/experts/<id>.safetensors` or `<step folder>/shared.safetensors`.
        meta: plain words kept in the file's header.

    Returns:
        The record that the checkpoint's manifest keeps of it.

    Raises:
        CheckpointError: `uri` is not in a step folder, or cannot be written.
    """
    file = file_in_step(uri)
    # A copy each: views of one flat parameter vector would otherwise be refused as shared memory.
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # One header entry, because safetensors writes several in no fixed order: same tensors, same digest.
    data = safetensors.torch.save(own, metadata={"anerf": json.dumps(dict(meta), sort_keys=True)})
    storage.write_bytes(uri, data)
    return ShardRecord(file=file, sha256=hashlib.sha256(data).hexdigest(), n_bytes=len(data))


def read_shard(folder_uri: str, record: ShardRecord) -> dict[str, Tensor]:
    """The tensors (on the CPU, writable) of the shard `record` in the step folder `folder_uri`.

    Raises:
        CheckpointError: the file is missing, short, or not the one that its manifest vouches for.
    """
    name, data = _vouched_bytes(folder_uri, record)
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{name} is not a safetensors file ({error}): {_REMEDY}") from error


def map_shard(folder_uri: str, record: ShardRecord) -> dict[str, Tensor]:
    """As `read_shard` of a local file, but the tensors lie in it: processes of a machine share its pages.

    What is never read of it is never loaded. A file that is replaced (as `write_shard` does) stays whole for
    those who have mapped it. The tensors must not be written to.

    Raises:
        CheckpointError: as `read_shard`, and where the file is not on a local file system.
    """
    store, path = storage.open_store(storage.join(folder_uri, record.file))
    name = f"Shard {record.file} of {storage.shown(folder_uri)}"
    if not isinstance(store, pafs.LocalFileSystem):
        raise CheckpointError(f"{name} is not a local file and cannot be mapped: copy the checkpoint here.")
    try:
        n_bytes = Path(path).stat().st_size
        if n_bytes != record.n_bytes:
            raise _of_other_length(name, record, n_bytes)
        with Path(path).open("rb") as file:
            _check_digest(name, record, hashlib.file_digest(file, "sha256").hexdigest())
        return safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{name} is missing: {_REMEDY}") from error
    except OSError as error:
        if is_outage(error):
            raise outage(name, error) from error
        raise CheckpointError(f"{name} cannot be read ({error}): {_REMEDY}") from error
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{name} is not a safetensors file ({error}): {_REMEDY}") from error


def copy_shard(folder_uri: str, record: ShardRecord, uri: str) -> ShardRecord:
    """Publish the shard `record` of `folder_uri` at `uri` in another step folder, byte for byte.

    Raises:
        CheckpointError: as `read_shard` and `write_shard`.
    """
    _, data = _vouched_bytes(folder_uri, record)
    file = file_in_step(uri)
    storage.write_bytes(uri, data)
    return ShardRecord(file=file, sha256=record.sha256, n_bytes=record.n_bytes)


def _vouched_bytes(folder_uri: str, record: ShardRecord) -> tuple[str, bytes]:
    """A shard's name for messages and its bytes, checked against the record."""
    name = f"Shard {record.file} of {storage.shown(folder_uri)}"
    try:
        data = storage.read_bytes(storage.join(folder_uri, record.file))
    except FileNotFoundError as error:
        raise CheckpointError(f"{name} is missing: {_REMEDY}") from error
    if len(data) != record.n_bytes:
        raise _of_other_length(name, record, len(data))
    _check_digest(name, record, hashlib.sha256(data).hexdigest())
    return name, data


def _of_other_length(name: str, record: ShardRecord, n_bytes: int) -> CheckpointError:
    return CheckpointError(f"{name} has {n_bytes} bytes where its manifest says {record.n_bytes}: {_REMEDY}")


def _check_digest(name: str, record: ShardRecord, digest: str) -> None:
    if digest != record.sha256:
        raise CheckpointError(
            f"{name} has sha256 {digest[:12]} where its manifest says {record.sha256[:12]}: {_REMEDY}"
        )
