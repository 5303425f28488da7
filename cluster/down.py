"""`anerf down`: end everything that `anerf up` started, and make sure that it has ended."""

import contextlib
import shutil
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from anerf.errors import StackError
from cluster.endpoints import reachable
from cluster.processes import listens, stop
from cluster.stack import (
    DEFAULT_OUT,
    LOCK_FILE,
    STACK_FILE,
    MediatorOfAnother,
    Stack,
    alone,
    joined,
    read_stack,
    refuse_other,
)

_GRACE_S = 10.0
_PORTS_CLOSE_S = 5.0


def down(out: Path = DEFAULT_OUT) -> None:
    """Stop the stack. A running job goes on from its last checkpoint after the next `anerf up`.

    Args:
        out: The stack's folder.
    """
    console = Console(stderr=True)
    out = out.absolute()
    stack = read_stack(out)
    if stack is None:
        console.print(f"No stack is up for {out}.")
        return
    busy = f"another `anerf up` or `anerf down` is at work on {out}: wait for it to end"
    with alone(out / LOCK_FILE, busy), console.status("Stopping"):
        forced = take_down(stack)
    console.print("Everything is down." + (f" {forced} processes were ended by force." if forced else ""))


def take_down(stack: Stack) -> int:
    """End a stack, whatever is left of it, and remove its traces.

    Returns:
        How many processes had to be ended by force.

    Raises:
        StackError: a process or a listening port of the stack is left.
    """
    if stack.ray is None and stack.ray_address is not None:
        _leave(stack)
    forced = stop(Path(stack.run_dir), stack.processes, _GRACE_S)
    left = _still_listening(stack) if stack.ray is not None and stack.complete else []
    # First of all: whoever has the ports now may keep them for long, and the next stack finds others.
    shutil.rmtree(stack.run_dir, ignore_errors=True)
    (Path(stack.out) / STACK_FILE).unlink(missing_ok=True)
    if left:
        raise StackError(
            f"{' and '.join(left)} still answers, though all processes of the stack have ended: "
            "another program took the port; see `ss -ltnp`"
        )
    return forced


def _still_listening(stack: Stack) -> list[str]:
    """Ports that do not close within a while: a process that has ended may still be closing its own."""
    deadline = time.monotonic() + _PORTS_CLOSE_S
    hosts = {"HTTP": reachable(stack.http_host)}
    while left := [
        f"{name} on {port}"
        for name, port in stack.ports.items()
        if listens(port, hosts.get(name, "127.0.0.1"))
    ]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return left


def _leave(stack: Stack) -> None:
    """Take our actors and our endpoint off a Ray that is not ours; what is another stack's stays there."""
    assert stack.ray_address is not None
    from actors.named import end_actor, end_orphans, end_stale_jobs, find
    from actors.names import INGESTOR, MEDIATOR

    # A cluster that is gone has taken them along.
    with contextlib.suppress(StackError), joined(stack.ray_address, stack.environment()):
        if (there := find(MEDIATOR)) is not None and not _is_ours(stack, there):
            return
        if stack.http_port is not None:
            from ray import serve

            for name in ("render", "jobs"):
                serve.delete(name)
        end_actor(INGESTOR)
        end_actor(MEDIATOR)
        end_stale_jobs()
        end_orphans(())


def _is_ours(stack: Stack, mediator: Any) -> bool:
    """Whether a Mediator is that of a stack; one that is mute is, where the stack once came up with it."""
    try:
        refuse_other(stack, mediator)
    except MediatorOfAnother:
        return False
    except StackError:
        return stack.complete
    return True
