"""`anerf bench ingest`: how many job messages a second are examined, by what the ingestor calls."""

import json
import time
from collections import Counter
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from anerf.errors import InputError, JobError
from anerf.jobs.headers import TRACE_HEADER, VERSION_HEADER, Header
from anerf.jobs.intake import examine

_HEADERS: list[Header] = [
    (VERSION_HEADER, b"1"),
    (TRACE_HEADER, b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
]
_JOB = {
    "op": "train",
    "data_path": "data/drz/",
    "data_dirname": "drz",
    "mask_dirname": "g22_grid_bm110_ss11",
    "algo": "fomaml",
    "near": 0,
    "far": 100_000,
    "batch_size": 3,
    "support_rays": 4000,
    "query_rays": 2000,
    "log2_hashmap_size": 20,
    "max_res": 4096,
    "outer_steps": 20_000,
}


def bench_ingest(
    *, messages: int = 20_000, as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
) -> None:
    """Examine job messages as the ingestor does, without Kafka and Ray, and tell how many a second.

    Args:
        messages: How many of each kind.
        as_json: Print one JSON object.
    """
    if messages < 1:
        raise InputError(f"--messages {messages} is too few: give at least 1")
    kinds = {
        "valid": [json.dumps({**_JOB, "job_id": f"job-{i}"}).encode() for i in range(messages)],
        "misspelt": [
            json.dumps({**_JOB, "job_id": f"job-{i}", "downscal": 1}).encode() for i in range(messages)
        ],
        "garbage": [i.to_bytes(4, "big") * 16 for i in range(messages)],
    }
    rates = {}
    for kind, values in kinds.items():
        outcomes: Counter[str] = Counter()
        started = time.perf_counter()
        for value in values:
            try:
                examine(value, _HEADERS)
            except JobError:
                outcomes["refused"] += 1
            else:
                outcomes["taken"] += 1
        rates[kind] = {"per_s": round(messages / (time.perf_counter() - started)), **outcomes}
    if as_json:
        Console(soft_wrap=True).out(json.dumps(rates), highlight=False)
        return
    table = Table("messages", "a second", "taken", "refused", box=None, pad_edge=False)
    for kind, found in rates.items():
        table.add_row(kind, f"{found['per_s']:,}", str(found.get("taken", 0)), str(found.get("refused", 0)))
    Console().print(table)
