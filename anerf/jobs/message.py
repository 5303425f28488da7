"""From the bytes of a message to one JSON object, or one sentence that says why not.

Messages come from anywhere: a queue that strangers may write to, a file edited by hand in a hurry. Whatever
the bytes are, the outcome is a dictionary or a `JobError`, never another exception.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from pydantic_core import ErrorDetails

from anerf.errors import JobError

MAX_MESSAGE_BYTES = 1 << 20
"""A job is a page of settings; a mebibyte is already somebody sending the wrong file."""

MAX_PROBLEMS = 10
"""Told in one sentence: who reads it mends the first ones first."""

_WANTED = {
    "int_type": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text in quotes",
    "string_unicode": "a text of valid Unicode characters",
}


def read_json_object(raw: bytes | str) -> dict[str, Any]:
    """The JSON object in a message of at most `MAX_MESSAGE_BYTES`.

    Raises:
        JobError: too large, not UTF-8, not JSON, nested beyond reason, a key given twice, a number that is
            not finite, or something else than an object at the top.
    """
    size = len(raw) if isinstance(raw, bytes) else len(raw.encode("utf-8", "surrogatepass"))
    if size > MAX_MESSAGE_BYTES:
        raise JobError(
            f"the job message has {size} bytes, at most {MAX_MESSAGE_BYTES} are taken: "
            "send the settings of one job as one JSON object"
        )
    try:
        text = raw.decode("utf-8-sig") if isinstance(raw, bytes) else raw
    except UnicodeDecodeError as error:
        raise JobError(
            f"the job message is not UTF-8 text (byte {error.start} is 0x{error.object[error.start]:02x}): "
            "save the file as UTF-8"
        ) from error
    try:
        value = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise JobError("the job message is nested too deeply: a job is one flat JSON object") from error
    except json.JSONDecodeError as error:
        raise JobError(
            f"the job message is not JSON ({error.msg} at line {error.lineno}, column {error.colno}): "
            'write one JSON object, such as {"op": "train", ...}'
        ) from error
    except ValueError as error:  # an integer of thousands of digits, which Python refuses to convert
        raise JobError(
            "the job message holds a whole number of thousands of digits: give a smaller one"
        ) from error
    if not isinstance(value, dict):
        raise JobError(
            f"the job message is {shown(value)}, not a JSON object: "
            "write the settings of one job between { and }"
        )
    return value


def unknown_key(key: str, known: Iterable[str]) -> str:
    """A clause that says that a key is unknown, with the nearest known name."""
    pairs = _pairs(_clip(key))
    alike = [name for name in known if pairs & _pairs(name)]  # comparing costs more than all the rest
    near = difflib.get_close_matches(_clip(key), alike, n=1, cutoff=0.5)
    remedy = f"did you mean `{near[0]}`?" if near else "remove it"
    return f"`{_clip(key)}` is not a known field, {remedy}"


def problem(error: ErrorDetails) -> str:
    """A clause for one of pydantic's findings: the field, its value, what would be right."""
    field = ".".join(str(part) for part in error["loc"]) or "job"
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        return f"`{field}` is missing, give it"
    if kind == "value_error":
        return f"`{field}` {context['error']}" if error["loc"] else str(context["error"])
    match kind:
        case "greater_than":
            wanted = f"a number above {_limit(context['gt'])}"
        case "greater_than_equal":
            wanted = f"at least {_limit(context['ge'])}"
        case "less_than":
            wanted = f"a number below {_limit(context['lt'])}"
        case "less_than_equal":
            wanted = f"at most {_limit(context['le'])}"
        case "literal_error":
            wanted = f"one of {context['expected']}"
        case "string_too_long":
            wanted = f"at most {context['max_length']} characters"
        case "string_too_short":
            wanted = "a text that is not empty"
        case _:
            wanted = _WANTED.get(kind, error["msg"])
    return f"`{field}` is {shown(error['input'])}, give {wanted}"


def sentence(problems: list[str], n_more: int = 0) -> str:
    """The problems of one message in one sentence.

    Args:
        problems: A clause each; of very many the first are told.
        n_more: Problems that have no clause.
    """
    count = len(problems) + n_more
    told = problems[:MAX_PROBLEMS]
    more = f"; and {count - len(told)} more" if count > len(told) else ""
    return (
        f"the job message has {'a problem' if count == 1 else f'{count} problems'}: {'; '.join(told)}{more}"
    )


def shown(value: object) -> str:
    """A value as its writer would recognise it, short."""
    match value:
        case Mapping():
            return "an object"
        case list():
            return f"a list of {len(value)}"
        case _:
            return _clip(json.dumps(value, default=str))


def _clip(text: str, limit: int = 60) -> str:
    """At most `limit` characters that can be printed and encoded."""
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _pairs(name: str) -> set[str]:
    return {name[i : i + 2] for i in range(len(name) - 1)} or {name}


def _limit(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise JobError(f"the job message gives `{_clip(key)}` twice: keep one of the two")
        found[key] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise JobError(f"the job message holds {name}, which is no JSON number: give a finite number")
