"""Locations as texts: a local path or a URI, and whether one lies below another. Opens nothing."""

import os
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, urlsplit, urlunsplit


def shown(uri: str) -> str:
    """`uri` as messages and logs may show it: without user, password and query, where keys stand."""
    if "://" not in uri:
        return uri
    split = urlsplit(uri)
    return urlunsplit((split.scheme, split.netloc.rpartition("@")[2], split.path, "", ""))


def local_path(place: str) -> Path | None:
    """The path of a local place, None for one in a store."""
    if "://" not in place:
        return Path(place)
    split = urlsplit(place)
    return Path(split.path) if split.scheme == "file" else None


def is_below(place: str, root: str) -> bool:
    """Whether a place is `root` or below it: of URIs in the same store, asked in the same way."""
    path, folder = local_path(place), local_path(root)
    if path is not None and folder is not None:
        return _real(path).is_relative_to(_real(folder))
    if path is not None or folder is not None:
        return False
    at, above = urlsplit(place), urlsplit(root)
    same_store = (at.scheme, at.netloc) == (above.scheme, above.netloc)
    same_way = sorted(parse_qsl(at.query)) == sorted(parse_qsl(above.query))
    inside = PurePosixPath(at.path or "/")
    return same_store and same_way and ".." not in inside.parts and inside.is_relative_to(above.path or "/")


def _real(path: Path) -> Path:
    # Unlike Path.resolve, this never fails: links that lead in circles are left as they are.
    return Path(os.path.realpath(path))
