"""Bytes on any `pyarrow.fs` store, published whole or not at all.

A location is a local path or a URI (`s3://bucket/jobs/1?region=eu-west-1`, `gs://...`, `file:///...`).
"""

import contextlib
import os
import uuid
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.fs as pafs

from anerf.errors import CheckpointError


def join(uri: str, *parts: str) -> str:
    """The location `parts` below `uri`; a URI's query stays at its end."""
    if "://" not in uri:
        return "/".join([uri.rstrip("/") or "/", *parts]) if uri != "/" else "/" + "/".join(parts)
    split = urlsplit(uri)
    return urlunsplit(split._replace(path="/".join([split.path.rstrip("/"), *parts])))


def shown(uri: str) -> str:
    """`uri` as messages and logs may show it: without user, password and query, where keys stand."""
    if "://" not in uri:
        return uri
    split = urlsplit(uri)
    return urlunsplit((split.scheme, split.netloc.rpartition("@")[2], split.path, "", ""))


def open_store(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system of `uri` and the path in it.

    Raises:
        CheckpointError: the scheme is unknown or the store cannot be opened.
    """
    if "://" not in uri:
        return pafs.LocalFileSystem(), str(Path(uri).absolute())
    try:
        return pafs.FileSystem.from_uri(uri)
    except (pa.ArrowException, OSError) as error:
        raise CheckpointError(
            f"{shown(uri)} cannot be opened ({error}): give a local path or a URI that "
            "pyarrow.fs knows, such as s3://bucket/path."
        ) from error


def is_file(uri: str) -> bool:
    """Whether a file lies at `uri`."""
    return file_size(uri) is not None


def file_size(uri: str) -> int | None:
    """Bytes of the file at `uri`, or None where there is none."""
    store, path = open_store(uri)
    try:
        info = store.get_file_info(path)
    except OSError as error:
        raise _unreachable(uri, error) from error
    return info.size if info.type == pafs.FileType.File else None


def folder_names(uri: str) -> list[str]:
    """Names of the folders directly below `uri`, sorted; none where `uri` does not exist."""
    store, path = open_store(uri)
    try:
        found = store.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    except NotADirectoryError:
        return []
    except OSError as error:
        raise _unreachable(uri, error) from error
    return sorted(info.base_name for info in found if info.type == pafs.FileType.Directory)


def read_bytes(uri: str) -> bytes:
    """The whole file at `uri`.

    Raises:
        FileNotFoundError: nothing lies there.
    """
    store, path = open_store(uri)
    with store.open_input_stream(path) as stream:
        return stream.read()


def write_bytes(uri: str, data: bytes) -> None:
    """Publish `data` at `uri`: a reader finds the old file or the whole new one.

    A killed writer leaves the old one, and at worst a hidden `.part` file beside it.
    """
    store, path = open_store(uri)
    folder, _, name = path.rpartition("/")
    partial = f"{folder}/.{name}.{uuid.uuid4().hex}.part"
    try:
        store.create_dir(folder, recursive=True)
        if isinstance(store, pafs.LocalFileSystem):
            with Path(partial).open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            Path(partial).replace(path)
        else:
            with store.open_output_stream(partial) as stream:
                stream.write(data)
            store.move(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            store.delete_file(partial)
        raise CheckpointError(
            f"{shown(uri)} ({len(data)} bytes) cannot be written ({error}): "
            "free space or rights are missing there."
        ) from error


def delete_file(uri: str) -> None:
    """Remove the file at `uri`; quietly nothing where there is none."""
    store, path = open_store(uri)
    with contextlib.suppress(FileNotFoundError):
        store.delete_file(path)


def delete_folder(uri: str) -> None:
    """Remove the folder at `uri` with all that is in it; quietly nothing where there is none."""
    store, path = open_store(uri)
    with contextlib.suppress(FileNotFoundError):
        store.delete_dir(path)


def _unreachable(uri: str, error: OSError) -> CheckpointError:
    return CheckpointError(f"{shown(uri)} cannot be looked into ({error}): check the path and its rights.")
