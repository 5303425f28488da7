"""Tensors that another program wrote with `torch.save`, read without trusting them.

`torch.save` writes a zip of plain storages and a list of what they are, itself a pickle (since torch 1.6).
`torch.load(weights_only=True)` reads that list with an interpreter of its own that builds tensors and plain
values and nothing else: no class is imported, nothing is called. Files that older versions of torch wrote are
bare pickles; they are refused before anything looks at them.
"""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import torch
from torch._weights_only_unpickler import UnpicklingError

from anerf.errors import InputError

TENSOR_ENDING = ".pt"
# A mask of a 100 megapixel photograph takes 100 MB; a small file that unpacks to more is no honest one.
_MOST_BYTES = 256 * 2**20
_UNREADABLE = (
    UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
)


def read_tensor_file(path: Path) -> object:
    """What `torch.save` wrote to `path` (or into the one file of a zip at `path`), on the CPU.

    Raises:
        InputError: the file is missing, damaged, a bare pickle, or holds more than tensors and plain values.
    """
    try:
        return _read(path.read_bytes(), path, nested=True)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; copy it from the prepared folder again") from None
    except _UNREADABLE as error:
        why = str(error).split(".")[0].split("\n")[0][:80].rstrip()
        raise InputError(
            f"{path} is damaged or holds more than tensors and plain values ({why}); nothing in it was run: "
            "copy it again, or write it again with torch.save of plain tensors"
        ) from None


def _read(data: bytes, path: Path, *, nested: bool) -> object:
    if not (data.startswith(b"PK\x03\x04") and zipfile.is_zipfile(io.BytesIO(data))):
        raise InputError(
            f"{path} is no zip as torch has written since 1.6 but a bare pickle or something else, which is "
            "not read; write it again with a newer torch's torch.save of plain tensors"
        )
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        n_bytes = sum(member.file_size for member in members)
        if n_bytes > _MOST_BYTES:
            raise InputError(
                f"{path} unpacks to {n_bytes} bytes, more than {_MOST_BYTES}; copy it from the prepared "
                "folder again"
            )
        is_torch = any(member.filename.endswith("data.pkl") for member in members)
        if not is_torch and nested and len(members) == 1:
            return _read(archive.read(members[0]), path, nested=False)
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
