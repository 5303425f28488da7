"""Which step folder a path and a prefix mean: `best`, `last` or `step<N>`.

<job>/checkpoints/best.json                     {"step": 200}
<job>/checkpoints/step0000200/manifest.json     written last
                             /experts/0.safetensors
                             /shared.safetensors
"""

import json
import re

from anerf.checkpoint import storage
from anerf.checkpoint.manifest import FILE as MANIFEST_FILE
from anerf.errors import CheckpointError

BEST_FILE = "best.json"
_STEP_FOLDER = re.compile(r"step([0-9]{7,})")
_PREFIX = re.compile(r"step([0-9]{1,18})")


def step_folder(checkpoints_uri: str, step: int) -> str:
    """The folder of the checkpoint at `step`."""
    return storage.join(checkpoints_uri, f"step{step:07d}")


def expert_file(step_uri: str, expert: int) -> str:
    """Where the shard of `expert` lies in a step folder."""
    return storage.join(step_uri, "experts", f"{expert}.safetensors")


def shared_file(step_uri: str) -> str:
    """Where the shard that all experts share lies in a step folder."""
    return storage.join(step_uri, "shared.safetensors")


def written_ns(step_uri: str) -> int | None:
    """When the checkpoint in a step folder was completed (ns since 1970); None where there is none.

    A step may be written again, by an adaptation that began anew: another time tells another checkpoint.
    """
    return storage.modified_ns(storage.join(step_uri, MANIFEST_FILE))


def withdraw(step_uri: str) -> None:
    """Make what is in a step folder no checkpoint any more, before it goes or is written again."""
    storage.delete_file(storage.join(step_uri, MANIFEST_FILE))


def file_in_step(uri: str) -> str:
    """The part of a shard's `uri` below its step folder, such as `experts/0.safetensors`."""
    parts = storage.shown(uri).split("/")
    for i in reversed(range(len(parts) - 1)):
        if _STEP_FOLDER.fullmatch(parts[i]):
            return "/".join(parts[i + 1 :])
    raise CheckpointError(
        f"{storage.shown(uri)} is not in a step folder: shards are written to <checkpoints>/step<7 digits>/."
    )


def complete_steps(checkpoints_uri: str) -> list[int]:
    """Steps of the checkpoints that were finished, in ascending order; unfinished ones do not exist."""
    return [step for step in _steps(checkpoints_uri) if _is_complete(step_folder(checkpoints_uri, step))]


def mark_best(checkpoints_uri: str, step: int) -> None:
    """Point `best` at `step`, which must be complete."""
    if not _is_complete(step_folder(checkpoints_uri, step)):
        raise CheckpointError(
            f"Step {step} of {storage.shown(checkpoints_uri)} cannot be the best: "
            "it has no manifest; write that first."
        )
    storage.write_bytes(storage.join(checkpoints_uri, BEST_FILE), json.dumps({"step": step}).encode())


def resolve_checkpoint(path: str, prefix: str = "best") -> str:
    """The location of the step folder that `path` and `prefix` mean.

    Args:
        path: a step folder, a folder of checkpoints or a job's folder (local path or URI).
        prefix: `best`, `last` or `step<N>`; a step folder answers for `best` and `last` itself.

    Raises:
        CheckpointError: nothing complete is there, or not what `prefix` asks for.
    """
    wanted = _PREFIX.fullmatch(prefix)
    if prefix not in ("best", "last") and not wanted:
        raise CheckpointError(
            f"Checkpoint prefix {prefix!r} is unknown: use best, last or step<N>, such as step200."
        )
    own = _STEP_FOLDER.fullmatch(storage.shown(path).rstrip("/").rpartition("/")[2])
    if _is_complete(path):
        if wanted and own and int(own[1]) != int(wanted[1]):
            raise CheckpointError(
                f"{storage.shown(path)} is step {int(own[1])}, not {prefix}: name the job's folder."
            )
        return path
    if own:
        raise CheckpointError(
            f"No checkpoint at {storage.shown(path)}: {MANIFEST_FILE} is missing there, so it was never "
            "finished; name the job's folder to use another step."
        )
    folder = _checkpoints_folder(path)
    steps = complete_steps(folder)
    if not steps:
        raise CheckpointError(
            f"No complete checkpoint under {storage.shown(path)}: name the folder of a job that has "
            "saved one, or train first."
        )
    step = int(wanted[1]) if wanted else steps[-1] if prefix == "last" else _best(folder, steps)
    if step not in steps:
        raise CheckpointError(f"No checkpoint {prefix} under {storage.shown(path)}: {_what_exists(steps)}.")
    return step_folder(folder, step)


def prune(checkpoints_uri: str, keep: int) -> list[int]:
    """Delete all but the newest `keep` complete checkpoints and the best one; returns the deleted steps.

    Unfinished folders older than the newest complete checkpoint go too, and what killed writers have left.
    Nobody must be writing.
    """
    if keep < 1:
        raise CheckpointError(f"keep is {keep} and at least 1 checkpoint must stay: raise keep_checkpoints.")
    storage.remove_torn(checkpoints_uri)
    complete = complete_steps(checkpoints_uri)
    if not complete:
        return []
    stay = set(complete[-keep:]) | {_pointer(checkpoints_uri)}
    gone = [step for step in _steps(checkpoints_uri) if step not in stay and step < complete[-1]]
    for step in gone:
        folder = step_folder(checkpoints_uri, step)
        withdraw(folder)
        storage.delete_folder(folder)
    return gone


def _is_complete(step_uri: str) -> bool:
    return storage.is_file(storage.join(step_uri, MANIFEST_FILE))


def _steps(folder: str) -> list[int]:
    found = [match for name in storage.folder_names(folder) if (match := _STEP_FOLDER.fullmatch(name))]
    return sorted(int(match[1]) for match in found if match[0] == f"step{int(match[1]):07d}")


def _checkpoints_folder(path: str) -> str:
    names = storage.folder_names(path)
    has_steps = any(_STEP_FOLDER.fullmatch(name) for name in names)
    return storage.join(path, "checkpoints") if "checkpoints" in names and not has_steps else path


def _best(folder: str, steps: list[int]) -> int:
    pointer = _pointer(folder)
    if pointer is not None:
        return pointer
    if len(steps) == 1:
        return steps[0]
    raise CheckpointError(
        f"No best checkpoint is marked in {storage.shown(folder)}: ask for last or step<N>; "
        f"{_what_exists(steps)}."
    )


def _pointer(folder: str) -> int | None:
    try:
        step = json.loads(storage.read_bytes(storage.join(folder, BEST_FILE)))["step"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{BEST_FILE} in {storage.shown(folder)} is damaged: delete it, then ask for last or step<N>."
        ) from error
    if not isinstance(step, int) or isinstance(step, bool):
        raise CheckpointError(f"{BEST_FILE} in {storage.shown(folder)} names step {step!r}: delete it.")
    return step


def _what_exists(steps: list[int]) -> str:
    shown = steps if len(steps) <= 8 else [*steps[:4], "...", *steps[-3:]]
    return f"complete are steps {', '.join(map(str, shown))}"
