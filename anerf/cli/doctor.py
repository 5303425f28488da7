"""`anerf doctor`: what works on this machine, and what to do about the rest."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anerf.errors import BackendError

if TYPE_CHECKING:
    from anerf.field.diagnosis import BackendState, Machine


def doctor(*, as_json: Annotated[bool, tyro.conf.arg(name="json")] = False) -> None:
    """Tells which field backends work on this machine, and what the others lack.

    Args:
        as_json: Writes the findings as JSON.
    """
    from anerf.field.diagnosis import examine_backends, examine_machine  # brings torch, which --help need not

    machine, backends = examine_machine(), examine_backends()
    if as_json:
        found = {"backends": [asdict(backend) for backend in backends], "machine": asdict(machine)}
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        _show(machine, backends)
    if not any(backend.usable for backend in backends):
        raise BackendError("no field backend works here: mend one of those that `anerf doctor` lists")


def _show(machine: "Machine", backends: "list[BackendState]") -> None:
    console = Console()
    table = Table(
        "backend", "works here", "how, or what it lacks", title="field backends", title_justify="left"
    )
    for backend in backends:
        table.add_row(
            backend.name, "[green]yes[/]" if backend.usable else "[red]no[/]", escape(backend.remark)
        )
    console.print(table)
    table = Table(title="machine", show_header=False, title_justify="left")
    table.add_row("CPU", f"{machine.cpu_capability}, {machine.cpus} cores to use")
    table.add_row("torch itself", f"{machine.torch_version}, {machine.torch_threads} threads")
    table.add_row("CUDA of torch", machine.torch_cuda or "none")
    for index, device in enumerate(machine.devices):
        fact = f"{device.name}, compute capability {device.capability}, {device.memory_gib:g} GiB"
        table.add_row(f"CUDA device {index}", escape(fact))
    if not machine.devices:
        table.add_row("CUDA devices", "none")
    console.print(table)
