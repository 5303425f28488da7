"""Bytes on any `pyarrow.fs` store, published whole or not at all.

A location is a local path or a URI (`s3://bucket/jobs/1?region=eu-west-1`, `gs://...`, `file:///...`).
"""

import contextlib
import os
import re
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.fs as pafs

from anerf.checkpoint.location import shown
from anerf.errors import CheckpointError, StorageUnavailable
from anerf.outage import telling_outages

_PUBLISHED_WHEN_CLOSED = {"s3", "gcs", "abfs"}
"""Stores in which an object appears, whole, when its stream is closed."""
_S3_ATTEMPTS = 3
"""Each waits 3 s for an answer."""
_TORN = re.compile(r"\..+\.[0-9a-f]{32}\.part")


def join(uri: str, *parts: str) -> str:
    """The location `parts` below `uri`; a URI's query stays at its end."""
    if "://" not in uri:
        return "/".join([uri.rstrip("/") or "/", *parts]) if uri != "/" else "/" + "/".join(parts)
    split = urlsplit(uri)
    return urlunsplit(split._replace(path="/".join([split.path.rstrip("/"), *parts])))


def open_store(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system of `uri` and the path in it.

    Raises:
        CheckpointError: the scheme is unknown or the store cannot be opened. StorageUnavailable: not now.
    """
    if "://" not in uri:
        return pafs.LocalFileSystem(), str(Path(uri).absolute())
    try:
        with telling_outages(shown(uri)):
            store, path = pafs.FileSystem.from_uri(uri)
            return (_less_patient(store, uri) if store.type_name == "s3" else store), path
    except (pa.ArrowException, OSError) as error:
        raise CheckpointError(
            f"{shown(uri)} cannot be opened ({error}): give a local path or a URI that "
            "pyarrow.fs knows, such as s3://bucket/path."
        ) from error


def is_file(uri: str) -> bool:
    """Whether a file lies at `uri`."""
    return _info(uri).is_file


def file_size(uri: str) -> int | None:
    """Bytes of the file at `uri`, or None where there is none."""
    info = _info(uri)
    return info.size if info.is_file else None


def modified_ns(uri: str) -> int | None:
    """When the file at `uri` was written (ns since 1970), or None where there is none."""
    info = _info(uri)
    return info.mtime_ns if info.is_file else None


def folder_names(uri: str) -> list[str]:
    """Names of the folders directly below `uri`, sorted; none where `uri` does not exist."""
    store, path = open_store(uri)
    try:
        with telling_outages(shown(uri)):
            found = store.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    except NotADirectoryError:
        return []
    except OSError as error:
        raise _closed_to_us(uri, error) from error
    return sorted(info.base_name for info in found if info.type == pafs.FileType.Directory)


def read_bytes(uri: str) -> bytes:
    """The whole file at `uri`.

    Raises:
        FileNotFoundError: nothing lies there. StorageUnavailable: that cannot be known now.
        CheckpointError: it is not for us to read.
    """
    store, path = open_store(uri)
    try:
        with telling_outages(shown(uri)), store.open_input_stream(path) as stream:
            return stream.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CheckpointError(
            f"{shown(uri)} cannot be read ({error}): check the path and its rights."
        ) from error


def write_bytes(uri: str, data: bytes) -> None:
    """Publish `data` at `uri`, durably: a reader finds the old file or the whole new one.

    A killed writer leaves the old one, and at worst a hidden `.part` file beside it (`remove_torn`).

    Raises:
        StorageUnavailable: not now. CheckpointError: not there, or not by us.
    """
    store, path = open_store(uri)
    folder, _, name = path.rpartition("/")
    partial = f"{folder}/.{name}.{uuid.uuid4().hex}.part"
    try:
        with telling_outages(shown(uri)):
            if store.type_name in _PUBLISHED_WHEN_CLOSED:
                with store.open_output_stream(path) as stream:
                    stream.write(data)
                return
            store.create_dir(folder, recursive=True)
            if isinstance(store, pafs.LocalFileSystem):
                with Path(partial).open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                Path(partial).replace(path)
                _sync_folder(folder)
            else:
                with store.open_output_stream(partial) as stream:
                    stream.write(data)
                store.move(partial, path)
    except (StorageUnavailable, OSError) as error:
        if store.type_name not in _PUBLISHED_WHEN_CLOSED:
            with contextlib.suppress(OSError):
                store.delete_file(partial)
        if isinstance(error, StorageUnavailable):
            raise
        raise CheckpointError(
            f"{shown(uri)} ({len(data)} bytes) cannot be written ({error}): see that the place exists and "
            "may be written to."
        ) from error


def delete_file(uri: str) -> None:
    """Remove the file at `uri`; quietly nothing where there is none."""
    store, path = open_store(uri)
    with contextlib.suppress(FileNotFoundError), telling_outages(shown(uri)):
        store.delete_file(path)


def delete_folder(uri: str) -> None:
    """Remove the folder at `uri` with all that is in it; quietly nothing where there is none."""
    store, path = open_store(uri)
    with contextlib.suppress(FileNotFoundError), telling_outages(shown(uri)):
        store.delete_dir(path)


def remove_torn(uri: str) -> int:
    """Remove what killed writers have left below the folder `uri`; how many files went.

    Nobody must be writing.
    """
    store, path = open_store(uri)
    if store.type_name in _PUBLISHED_WHEN_CLOSED:
        return 0
    n_removed = 0
    with telling_outages(shown(uri)):
        for info in store.get_file_info(pafs.FileSelector(path, allow_not_found=True, recursive=True)):
            if info.is_file and _TORN.fullmatch(info.base_name):
                store.delete_file(info.path)
                n_removed += 1
    return n_removed


def _less_patient(store: Any, uri: str) -> pafs.FileSystem:
    """The same S3, which tells after ten seconds that nobody answers; pyarrow itself tries for a hundred."""
    split = urlsplit(uri)
    options = dict(parse_qsl(split.query))
    if split.username is not None or not options.keys() <= {"region", "scheme", "endpoint_override"}:
        return store
    return pafs.S3FileSystem(
        region=store.region,
        scheme=options.get("scheme"),
        endpoint_override=options.get("endpoint_override"),
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=_S3_ATTEMPTS),
    )


def _info(uri: str) -> pafs.FileInfo:
    store, path = open_store(uri)
    try:
        with telling_outages(shown(uri)):
            return store.get_file_info(path)
    except OSError as error:
        raise _closed_to_us(uri, error) from error


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _closed_to_us(uri: str, error: OSError) -> CheckpointError:
    return CheckpointError(f"{shown(uri)} cannot be looked into ({error}): check the path and its rights.")
