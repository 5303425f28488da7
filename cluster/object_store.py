"""A folder as an object store, as much of S3 as the embedded broker needs to keep its messages on the disk.

Objects are files, written whole and flushed before they are acknowledged. A write may demand that the object
is new (`If-None-Match: *`) or as it was last seen (`If-Match`), which is what the broker's correctness rests
on. It listens on 127.0.0.1 alone, like the broker itself. Signatures are not looked at.
"""

import bisect
import hashlib
import itertools
import logging
import os
import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

logger = logging.getLogger(__name__)

_PAGE = 1000
_TEMPORARY = ".tmp-"
_LARGEST_BYTES = 256 << 20


@dataclass(frozen=True)
class ObjectInfo:
    """What a list tells about an object."""

    key: str
    size: int
    modified_s: float


class FolderStore:
    """The objects of one bucket. Safe for threads; nobody else may write to the folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        root.mkdir(parents=True, exist_ok=True)
        self._index: dict[str, ObjectInfo] = {}
        for at, _, names in os.walk(root):
            for path in (Path(at) / name for name in names):
                if path.name.startswith(_TEMPORARY):
                    path.unlink()  # of a write that was cut off
                else:
                    self._remember(str(path.relative_to(root)), path)
        self._keys = sorted(self._index)
        """In order: a broker lists a topic every time that somebody asks for its messages."""

    def path(self, key: str) -> Path | None:
        """The file of an object; None for a key that would leave the folder or be a temporary file."""
        parts = key.split("/")
        if any(part in ("", ".", "..") or part.startswith(_TEMPORARY) or "\0" in part for part in parts):
            return None
        return self.root.joinpath(*parts)

    def read(self, key: str) -> tuple[bytes, str, ObjectInfo] | None:
        """Content, tag and more of an object, or None."""
        with self._lock:
            return self._read(key)

    def write(self, key: str, content: bytes, only_new: bool, only_if: str | None) -> str | None:
        """Write an object durably and return its tag; None: it is not new, or not as demanded."""
        path = self.root / key
        with self._lock:
            if only_new and key in self._index:
                return None
            if only_if is not None:
                there = self._read(key)
                if there is None or there[1] != only_if:
                    return None
            self._make_folder(path.parent)
            temporary = path.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _flush_folder(path.parent)
            if key not in self._index:
                bisect.insort(self._keys, key)
            self._remember(key, path)
            return _tag(content)

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with self._lock:
            if self._index.pop(key, None) is not None:
                del self._keys[bisect.bisect_left(self._keys, key)]
                (self.root / key).unlink()

    def list(self, prefix: str, after: str, limit: int) -> list[ObjectInfo]:
        """The first objects, in order, whose keys start with `prefix` and come after `after`."""
        with self._lock:
            first = max(bisect.bisect_left(self._keys, prefix), bisect.bisect_right(self._keys, after))
            keys = itertools.takewhile(
                lambda key: key.startswith(prefix), itertools.islice(self._keys, first, first + limit)
            )
            return [self._index[key] for key in keys]

    def _read(self, key: str) -> tuple[bytes, str, ObjectInfo] | None:
        info = self._index.get(key)
        if info is None:
            return None
        content = (self.root / key).read_bytes()
        return content, _tag(content), info

    def _remember(self, key: str, path: Path) -> None:
        status = path.stat()
        self._index[key] = ObjectInfo(key, status.st_size, status.st_mtime)

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush_folder(folder.parent)


def serve(store: FolderStore) -> ThreadingHTTPServer:
    """Answer for a store on 127.0.0.1, in threads, until `shutdown`; path-style, whatever the bucket."""

    class _Bound(_Handler):
        bucket = store

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Bound)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="object store", daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    bucket: FolderStore
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query, keep_blank_values=True)
        if "list-type" in query:
            self._list(query)
            return
        key = self._key()
        found = None if key is None else self.bucket.read(key)
        if found is None:
            self._answer(404)
            return
        content, tag, info = found
        headers = {"ETag": tag, "Last-Modified": formatdate(info.modified_s, usegmt=True)}
        if self.headers.get("If-None-Match") == tag:
            self._answer(304, headers=headers)
            return
        self._answer(200, content, headers)

    do_HEAD = do_GET  # noqa: N815

    def do_PUT(self) -> None:
        size = int(self.headers.get("Content-Length", -1))
        key = self._key()
        if not 0 <= size <= _LARGEST_BYTES or key is None:
            self.close_connection = True
            self._answer(400)
            return
        content = self.rfile.read(size)
        only_new = self.headers.get("If-None-Match") == "*"
        tag = self.bucket.write(key, content, only_new, self.headers.get("If-Match"))
        if tag is None:
            self._answer(412)
        else:
            self._answer(200, headers={"ETag": tag})

    def do_DELETE(self) -> None:
        key = self._key()
        if key is not None:
            self.bucket.delete(key)
        self._answer(204)

    def log_message(self, format: str, *args: object) -> None:
        logger.debug(format, *args)

    def _key(self) -> str | None:
        """The object that is asked for; None if there can be none of that name."""
        _, _, key = unquote(urlsplit(self.path).path).removeprefix("/").partition("/")
        return None if self.bucket.path(key) is None else key

    def _list(self, query: dict[str, list[str]]) -> None:
        def one(name: str) -> str:
            return query.get(name, [""])[0]

        prefix, delimiter = one("prefix"), one("delimiter")
        after = max(one("start-after"), one("continuation-token"))
        found = self.bucket.list(prefix, after, _PAGE + 1)
        more, found = len(found) > _PAGE, found[:_PAGE]
        rows: list[str] = []
        groups: set[str] = set()
        for info in found:
            head, cut, _ = info.key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if cut:
                groups.add(prefix + head + cut)
                continue
            when = datetime.fromtimestamp(info.modified_s, UTC).isoformat(timespec="milliseconds")
            rows.append(
                f"<Contents><Key>{escape(info.key)}</Key><LastModified>{when}</LastModified>"
                f"<Size>{info.size}</Size></Contents>"
            )
        rows += [f"<CommonPrefixes><Prefix>{escape(g)}</Prefix></CommonPrefixes>" for g in sorted(groups)]
        token = f"<NextContinuationToken>{escape(found[-1].key)}</NextContinuationToken>" if more else ""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(rows)}</ListBucketResult>"
        )
        self._answer(200, body.encode(), {"Content-Type": "application/xml"})

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _tag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _flush_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
