"""`anerf up`, `anerf status`: bring the whole stack up on this machine, and look at it."""

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from actors.limits import QUEUE_LIMIT, Limits
from actors.names import JOB_TOPIC
from anerf.checkpoint.location import shown
from anerf.errors import AnerfError, InputError, StackError
from anerf.jobs import values
from cluster.down import take_down
from cluster.endpoints import Endpoints, deploy, reachable
from cluster.kafka_config import SERVERS, check_broker, read_kafka_settings
from cluster.processes import listens
from cluster.show import AsJson, print_json
from cluster.stack import (
    ACTOR_TIMEOUT_S,
    DEFAULT_OUT,
    LOCK_FILE,
    Stack,
    alone,
    is_up,
    joined,
    joined_stack,
    mediator,
    read_stack,
    refuse_other,
)

WARM = 5
_WARM_FROM_BYTES = 15 << 30  # what a machine "of 16 GiB" tells
FAILED_LOGS = ".up-failed"
KAFKA_FOLDER = ".kafka"
"""Where the embedded broker keeps its messages, below the output folder."""


def up(
    out: Path = DEFAULT_OUT,
    bootstrap_servers: str | None = None,
    address: str | None = None,
    num_cpus: int | None = None,
    http_port: int = 8000,
    host: str = "127.0.0.1",
    token_file: Path | None = None,
    allow_origin: tuple[str, ...] = (),
    renderers: int = 1,
    dashboard_port: int = 8265,
    serve: bool = True,
    kafka_config: Path | None = None,
    queue_limit: int = QUEUE_LIMIT,
    durable: bool = True,
    keep_days: float | None = None,
    warm: int | None = None,
    storage: tuple[str, ...] = (),
) -> None:
    """Start Ray, a Kafka broker, the Mediator, the ingestor and the render endpoint, and tell where they are.

    Args:
        out: Folder for jobs; one stack per folder.
        bootstrap_servers: A Kafka that is there already, instead of the embedded broker.
        address: A Ray cluster that is there already (host:port), instead of a new one.
        num_cpus: CPUs that the new Ray may give out; all by default.
        http_port: Port of the endpoints (pictures, jobs), or the next free one.
        host: Address that they listen on, such as 0.0.0.0 for all. Elsewhere than on loopback, callers must
            show a token.
        token_file: File with the token (`Authorization: Bearer TOKEN`), also for loopback. Where one is
            needed and none given, it is made in <out>/.http-token, and kept for the next time.
        allow_origin: Web pages (scheme://host:port) whose scripts may call the endpoints.
        renderers: At most so many processes render; with several, idle ones end.
        dashboard_port: Port of the Ray dashboard, or the next free one.
        serve: Whether to deploy the render endpoint.
        kafka_config: File with librdkafka's properties, `key=value` a line: TLS, SASL. It goes before
            environment variables ANERF_KAFKA_<KEY>; --bootstrap-servers goes before both.
        queue_limit: Jobs that may wait in the queue; further ones wait on the topic.
        durable: Whether the embedded broker keeps its messages in <out>/.kafka instead of in memory.
        keep_days: Days after a job's end when its results are removed (not its record); by default never.
        warm: Idle processes that are kept ready, so that a job's first step comes in a second or two. Each
            takes about 210 MB, and Ray's other processes 100 MB more. By default 5 on a machine of 16 GiB,
            else none. Only for a Ray that is started here.
        storage: Places that messages may name beside the output folder, for checkpoints that are written
            (checkpoint_root) and read (checkpoint_path): folders, or URIs as the messages give them.
            Credentials come from this command's environment.
    """
    console = Console(stderr=True)
    out = out.absolute()
    with alone(
        out / LOCK_FILE, f"another `anerf up` or `anerf down` is at work on {out}: wait for it to end"
    ):
        kafka = read_kafka_settings(kafka_config, bootstrap_servers, os.environ)
        stack = Stack(
            out=str(out),
            run_dir="",
            cwd=str(Path.cwd()),
            bootstrap_servers=kafka.get(SERVERS),
            kafka_config=None if kafka_config is None else str(kafka_config.absolute()),
        )
        allowed = tuple(_place(place) for place in storage)
        limits = Limits(queue_limit, keep_days, 0 if address is not None else _warm(warm), allowed)
        endpoints = Endpoints(http_port, host, token_file, allow_origin, renderers) if serve else None
        _up(console, stack, kafka, address, num_cpus, dashboard_port, endpoints, limits, durable)


def _up(
    console: Console,
    stack: Stack,
    kafka: Mapping[str, str],
    address: str | None,
    num_cpus: int | None,
    dashboard_port: int,
    endpoints: Endpoints | None,
    limits: Limits,
    durable: bool,
) -> None:
    out = Path(stack.out)
    old = read_stack(out)
    if old is not None and old.ray is None:
        # A Ray that was made anew may have a token of its own, and this process shows one and no other.
        old = replace(old, token_path=os.environ.get("RAY_AUTH_TOKEN_PATH", old.token_path))
    if old is not None and is_up(old):
        console.print(f"The stack of {out} is up already.")
        _show(old, Console(), True)
        return
    if old is not None:
        console.print(f"The last stack of {out} did not end well: clearing up after it.")
        take_down(old)
    from cluster.head import make_run_dir

    if stack.bootstrap_servers is not None:
        check_broker(kafka)
    stack = replace(stack, run_dir=str(make_run_dir()))
    stack.save()
    try:
        with console.status("Starting Ray") as progress:
            stack = _start_ray(stack, address, num_cpus, dashboard_port, limits.warm > 0)
            progress.update("Starting the broker")
            stack = _start_broker(stack, kafka, durable)
            progress.update("Joining Ray")
            assert stack.ray_address is not None
            with joined(stack.ray_address, stack.environment()):
                progress.update("Starting the Mediator and the ingestor")
                _start_actors(stack, {**kafka, SERVERS: str(stack.bootstrap_servers)}, limits)
                if endpoints is not None:
                    progress.update("Deploying the endpoints")
                    stack = deploy(stack, endpoints)
    except (AnerfError, KeyboardInterrupt):
        # Half a stack serves nobody; its logs stay.
        shutil.copytree(stack.run_dir, out / FAILED_LOGS, dirs_exist_ok=True, ignore=_only_logs)
        console.print(f"It did not come up; its logs are in {out / FAILED_LOGS}.")
        take_down(read_stack(out) or stack)
        raise
    stack = replace(stack, complete=True)
    stack.save()
    _show(stack, Console(), True)


def status(out: Path = DEFAULT_OUT, as_json: AsJson = False) -> None:
    """Show what is up.

    Args:
        out: The stack's folder.
        as_json: Print one JSON object.
    """
    stack = read_stack(out.absolute())
    if stack is None:
        raise StackError(f"no stack is up for {out}: start one with `anerf up --out {out}`")
    alive = is_up(stack)
    if as_json:
        print_json({**asdict(stack), "alive": alive})
    else:
        _show(stack, Console(), alive)
    if not alive:
        raise StackError(f"the stack of {out} is not complete: start it again with `anerf up --out {out}`")
    if not as_json:
        with joined_stack(out.absolute()):
            import ray

            jobs: Any = ray.get(mediator().list.remote(), timeout=ACTOR_TIMEOUT_S)
            counts: dict[str, int] = {}
            for job in jobs:
                counts[job.record.state] = counts.get(job.record.state, 0) + 1
            told = ", ".join(f"{n} {state}" for state, n in sorted(counts.items())) or "none"
            Console().print(f"Jobs: {told}")


def _place(given: str) -> str:
    try:
        place = str(values.location(given))
    except ValueError as error:
        raise InputError(f"--storage {shown(given)} {error}") from error
    return place if "://" in place else str(Path(place).absolute())


def _warm(wanted: int | None) -> int:
    if wanted is not None:
        return wanted
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return WARM if memory >= _WARM_FROM_BYTES else 0


def _start_ray(
    stack: Stack, address: str | None, num_cpus: int | None, dashboard_port: int, warm: bool
) -> Stack:
    from cluster.head import make_token, start_head

    if address is not None:
        stack = replace(stack, ray_address=address, token_path=os.environ.get("RAY_AUTH_TOKEN_PATH"))
        stack.save()
        return stack
    run_dir = Path(stack.run_dir)
    token = make_token(run_dir)
    process, address, port = start_head(run_dir, token, run_dir / "ray.log", num_cpus, dashboard_port, warm)
    stack = replace(stack, ray=process, ray_address=address, dashboard_port=port, token_path=str(token))
    stack.save()
    return stack


def _start_broker(stack: Stack, kafka: Mapping[str, str], durable: bool) -> Stack:
    from cluster.broker import start_broker

    if stack.bootstrap_servers is not None:
        return stack
    run_dir = Path(stack.run_dir)
    folder = Path(stack.out) / KAFKA_FOLDER if durable else None
    process, port = start_broker(run_dir, run_dir / "broker.log", folder=folder)
    stack = replace(stack, broker=process, broker_port=port, bootstrap_servers=f"127.0.0.1:{port}")
    stack.save()
    check_broker({**kafka, SERVERS: f"127.0.0.1:{port}"})
    return stack


def _start_actors(stack: Stack, kafka: Mapping[str, str], limits: Limits) -> None:
    import ray
    from ray.exceptions import RayError

    from actors.ingestor import start_ingestor
    from actors.mediator import start_mediator

    try:
        mediator = start_mediator(Path(stack.out), Path(stack.cwd), limits)
        refuse_other(stack, mediator)
        ingestor = start_ingestor(kafka)
        status: Any = ray.get(ingestor.status.remote(), timeout=ACTOR_TIMEOUT_S)
        deadline = time.monotonic() + ACTOR_TIMEOUT_S
        # A broker lets a new reader in after some seconds; until then a job that is sent seems lost.
        while not status.assigned:
            if time.monotonic() > deadline:
                raise StackError(
                    f"the broker at {stack.bootstrap_servers} gives the ingestor nothing to read "
                    f"within {ACTOR_TIMEOUT_S:g} s: see that it is up and that topic {JOB_TOPIC} is readable"
                )
            time.sleep(0.1)
            status = ray.get(ingestor.status.remote(), timeout=ACTOR_TIMEOUT_S)
    except RayError as error:
        raise StackError(
            f"the long-lived actors do not come up: {str(error).strip().splitlines()[-1]}"
        ) from error


def _show(stack: Stack, console: Console, alive: bool) -> None:
    rows = [
        ("Jobs", stack.out, alive),
        ("Ray", str(stack.ray_address), not stack.ray or stack.ray.is_alive()),
    ]
    if stack.dashboard_port is not None:
        token = f"  (asks for the token in {stack.token_path})"
        rows.append(_web("Ray dashboard", stack.dashboard_port, token))
    rows.append(("Kafka", str(stack.bootstrap_servers), not stack.broker or stack.broker.is_alive()))
    if stack.http_port is not None:
        asks = "" if stack.http_token_file is None else f"  (asks for the token in {stack.http_token_file})"
        rows.append(_web("Render endpoint", stack.http_port, f"/docs{asks}", stack.http_host))
        rows.append(_web("Jobs over HTTP", stack.http_port, "/jobs/docs", stack.http_host))
    for name, where, runs in rows:
        line = Text("up    ", style="green") if runs else Text("down  ", style="red")
        console.print(line.append(f"{name:<17}{where}", style="default"), soft_wrap=True)
    exports = " ".join(f"{name}={value}" for name, value in stack.environment().items())
    console.print(
        f"For `ray job submit -- anerf run JOB.json`:\n  export {exports}", soft_wrap=True, highlight=False
    )


def _web(name: str, port: int, rest: str, host: str = "127.0.0.1") -> tuple[str, str, bool]:
    return name, f"http://{host}:{port}{rest}", listens(port, reachable(host))


def _only_logs(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".log")]
