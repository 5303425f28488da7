"""A call for several experts of one process, answered for each of them."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from anerf.errors import AnerfError


class StepMismatch(AnerfError):
    """The expert stands at another step than its caller expects: it was restarted in between."""

    retryable = True


def answer_each(
    target: object, threads: ThreadPoolExecutor, method: str, args_of: Mapping[int, tuple[Any, ...]]
) -> dict[int, Any]:
    """A method `target.method(expert, *args)` for several experts, side by side.

    Returns:
        Each expert's result, or the `AnerfError` that it raised; any other error ends the call.
    """

    def one(expert: int) -> Any:
        try:
            return getattr(target, method)(expert, *args_of[expert])
        except AnerfError as error:
            return error

    if len(args_of) == 1:
        return {expert: one(expert) for expert in args_of}
    return dict(zip(args_of, threads.map(one, args_of), strict=True))
