"""The `anerf` command. It starts quickly: only the command that is asked for is imported."""

import difflib
import importlib
import sys
from dataclasses import dataclass
from types import MappingProxyType

from rich.console import Console
from rich.table import Table

from anerf import __version__, logs
from anerf.errors import AnerfError, InputError


@dataclass(frozen=True)
class Command:
    """Where a command's function lies, and its line in the overview. Its arguments are the function's."""

    module: str
    function: str
    summary: str


COMMANDS = MappingProxyType(
    {
        "demo": Command("cluster.demo", "demo", "show the whole system at work on a made survey"),
        "survey": Command(
            "anerf.cli.survey", "survey", "make a survey of a procedural city block to try things on"
        ),
        "reconstruct": Command(
            "anerf.cli.reconstruct", "reconstruct", "find out from photographs where each was taken"
        ),
        "register": Command(
            "anerf.cli.register", "register", "find where new photographs were taken, among a survey's"
        ),
        "prepare": Command("anerf.cli.prepare", "prepare", "turn a survey into a scene"),
        "update": Command("anerf.cli.update", "update", "add a later flight to a scene"),
        "partition": Command("anerf.cli.partition", "partition", "divide a scene among experts"),
        "inspect": Command(
            "anerf.cli.inspect", "inspect", "show where a scene's cameras, experts and GPS are"
        ),
        "render": Command("anerf.cli.render", "render", "render one picture of a checkpoint"),
        "schema": Command(
            "anerf.cli.schema", "schema", "print the JSON Schema of jobs, or AsyncAPI of topics"
        ),
        "doctor": Command(
            "anerf.cli.doctor", "doctor", "tell which field backends work here, and what the others lack"
        ),
        "bench field": Command(
            "anerf.cli.bench_field", "bench_field", "time the field backends beside this machine's floor"
        ),
        "bench render": Command("anerf.cli.bench_render", "bench_render", "time a picture of a checkpoint"),
        "bench quality": Command(
            "anerf.cli.bench_quality", "bench_quality", "dB after so many seconds of training and adapting"
        ),
        "bench ingest": Command(
            "anerf.cli.bench_ingest", "bench_ingest", "job messages validated a second, good ones and bad"
        ),
        "bench coordinator": Command(
            "cluster.bench_coordinator", "bench_coordinator", "what a thousand simulated experts cost"
        ),
        "bench endpoint": Command(
            "cluster.bench_endpoint", "bench_endpoint", "what a picture over HTTP costs beside one made here"
        ),
        "bench look": Command("cluster.bench_look", "bench_look", "what it costs a training to be looked at"),
        "bench ray-share": Command(
            "cluster.bench_ray_share", "bench_ray_share", "what Ray takes of a training, against one process"
        ),
        "run": Command("cluster.run", "run", "do one job here and now, without Kafka"),
        "up": Command("cluster.up", "up", "start Ray, Kafka, Mediator, ingestor and the render endpoint"),
        "down": Command("cluster.down", "down", "stop all of it"),
        "status": Command("cluster.up", "status", "show what is up, and where"),
        "send": Command("cluster.send", "send", "send a job through Kafka"),
        "jobs list": Command("cluster.jobs", "list_", "list all jobs with their states"),
        "jobs show": Command("cluster.jobs", "show", "show one job"),
        "jobs watch": Command("cluster.jobs", "watch", "follow a job to its end"),
        "jobs cancel": Command("cluster.jobs", "cancel", "cancel a job"),
        "jobs pause": Command("cluster.steer", "pause", "pause a running job"),
        "jobs resume": Command("cluster.steer", "resume", "let a paused job go on"),
        "jobs save": Command("cluster.steer", "save", "write a checkpoint of a running job now"),
        "jobs stop": Command("cluster.steer", "stop", "end a running job well, with a checkpoint"),
        "jobs logs": Command("cluster.jobs", "logs", "print a job's log"),
    }
)
GROUPS = frozenset(name.split()[0] for name in COMMANDS if " " in name)


def main() -> None:
    """Adaptive city-scale NeRFs for emergency awareness."""
    try:
        _dispatch(sys.argv[1:])
    except AnerfError as error:
        Console(stderr=True, soft_wrap=True).print(str(error), style="red", markup=False, highlight=False)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)


def _dispatch(arguments: list[str]) -> None:
    if arguments == ["--version"]:
        Console().print(f"anerf {__version__}", highlight=False)
        return
    group = arguments[0] if arguments and arguments[0] in GROUPS else None
    words = 2 if group else 1
    name = " ".join(arguments[:words])
    if arguments[words - 1 : words] in ([], ["-h"], ["--help"], ["help"]):
        _overview(group)
        return
    command = COMMANDS.get(name)
    if command is None:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        remedy = f"did you mean `anerf {near[0]}`?" if near else "`anerf --help` lists the commands"
        raise InputError(f"there is no command `anerf {name}`: {remedy}")

    import tyro

    logs.configure()
    function = getattr(importlib.import_module(command.module), command.function)
    tyro.cli(function, prog=f"anerf {name}", args=arguments[words:], config=(tyro.conf.FlagCreatePairsOff,))


def _overview(group: str | None) -> None:
    console = Console()
    console.print(f"[bold]anerf[/] {__version__}: {main.__doc__}\n", highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
    for name, command in COMMANDS.items():
        if group is None or name.startswith(f"{group} "):
            table.add_row(f"anerf {name}", command.summary)
    console.print(table)
    console.print("\n`anerf COMMAND --help` tells its options.", highlight=False)
