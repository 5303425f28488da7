"""Single values of a job message: what people write, made what the job needs, or refused in words for people.

Each function is a pydantic validator that runs before types are checked: what it does not know it passes on.
"""

import re
from urllib.parse import parse_qsl, urlsplit

from anerf.jobs.message import shown

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Of jobs and scenes: no path."""
_PREFIX = re.compile(r"best|last|step[0-9]{1,12}")
CANNED_PATHS = ("spiral_in", "turntable", "east_west", "north_south", "full_coverage")
"""Names of the camera paths of `anerf.geometry.canned_paths`."""
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

_AZURE = ("abfs", "abfss")
"""Their URIs may name a container before the @."""
_STORE_OPTIONS = {"region", "scheme", "endpoint_override", "force_virtual_addressing"}


def whole(value: object) -> object:
    """20000.0 and 2e4 are whole numbers too; JSON has only one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def line(value: object) -> object:
    """A text that can be written in one line."""
    if isinstance(value, str) and _UNWRITABLE.search(value):
        raise ValueError(f"is {shown(value)}, give a text without control characters")
    return value


def location(value: object) -> object:
    """A local path, or the URI of a store, which never holds a key: errors do not show it."""
    value = line(value)
    if not isinstance(value, str) or "://" not in value:
        return value
    try:
        split = urlsplit(value)
        has_user = split.password is not None or (split.username is not None and split.scheme not in _AZURE)
        asked = {key for key, _ in parse_qsl(split.query, keep_blank_values=True, strict_parsing=True)}
    except ValueError:
        raise ValueError("is not a URI, give one such as s3://bucket/folder?region=eu-west-1") from None
    if has_user or "@" in split.query:
        raise ValueError(
            "holds a user or a key, leave it out: whoever runs the job gives these in the environment, as "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if not asked <= _STORE_OPTIONS:
        raise ValueError(f"has options that are not known, give only {', '.join(sorted(_STORE_OPTIONS))}")
    if split.fragment or "%" in split.path or any(part in (".", "..") for part in split.path.split("/")):
        raise ValueError("has a path with %, #, . or .. in it, give the plain path")
    return value


def name(value: object) -> object:
    """A name that may become a folder's."""
    if isinstance(value, str) and not NAME.fullmatch(value):
        raise ValueError(
            f"is {shown(value)}, give 1 to 100 letters, digits, dots, dashes or underscores, "
            "with a letter or digit first"
        )
    return value


def checkpoint_prefix(value: object) -> object:
    """`best`, `last` or `step<number>`."""
    if isinstance(value, str) and not _PREFIX.fullmatch(value):
        raise ValueError(f"is {shown(value)}, give best, last or step<number>, such as step2000")
    return value


def camera_path(value: object) -> object:
    """The name of a path over every scene, or the file of a saved one."""
    if isinstance(value, str) and value not in CANNED_PATHS and not value.endswith(".json"):
        raise ValueError(
            f"is {shown(value)}, give one of {', '.join(CANNED_PATHS)}, or the .json file of a saved path"
        )
    return value


def steps(value: object) -> object:
    """`16`, `"16"`, `"1,4,16"` or `[1, 4, 16]` to a tuple of adaptation steps."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    found = tuple(int(p) if isinstance(p, str) and re.fullmatch(r"\s*[0-9]{1,9}\s*", p) else p for p in parts)
    if not found or any(
        isinstance(s, bool) or not isinstance(s, int) or not 0 <= s <= 1_000_000 for s in found
    ):
        raise ValueError(f'is {shown(value)}, give a number of steps or several, such as "16" or "1,4,16"')
    return found


def seconds(value: object) -> object:
    """`10`, `"10"`, `"10,30"` or `[10, 30]` to a tuple of seconds."""
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    try:
        found = tuple(float(p) for p in parts if isinstance(p, str | int | float) and not isinstance(p, bool))
    except ValueError:
        found = ()
    if len(found) != len(parts) or not found or not all(0 < s <= 86_400 for s in found):
        raise ValueError(
            f'is {shown(value)}, give seconds above 0 and up to a day, one or several, such as "10,30"'
        )
    return found


def devices(value: object) -> object:
    """`"all"`, `0`, `"0,1"` or `[0, 1]` to `None` (all) or a tuple of accelerator numbers."""
    if value is None or value == "all":
        return None
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    numbers = tuple(
        int(p) if isinstance(p, str) and re.fullmatch(r"\s*[0-9]{1,4}\s*", p) else p for p in parts
    )
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in numbers):
        raise ValueError(f'is {shown(value)}, give "all" or accelerator numbers, such as [0, 1]')
    return numbers


def background(value: object) -> object:
    """`random`, `white`, `black`, or three numbers in [0, 1]."""
    if value in ("random", "white", "black"):
        return value
    if isinstance(value, list) and len(value) == 3:
        levels = [float(v) for v in value if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(levels) == 3 and all(0.0 <= v <= 1.0 for v in levels):
            return tuple(levels)
    raise ValueError(f"is {shown(value)}, give random, white, black or three numbers from 0 to 1")
