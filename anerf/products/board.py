"""Figures for TensorBoard. A full disk costs them nothing but time."""

import logging
import time
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tensorboardX.summary import scalar

from anerf.outage import is_outage

log = logging.getLogger(__name__)


class Board:
    """Scalars over steps, in event files of one folder.

    tensorboardX's own `SummaryWriter` writes in a thread that ends for good when the disk is full, and then
    blocks its caller for ever. Here what could not be written is kept, and goes to another file later.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: list[Any] = []  # of a type that protobuf makes when it is loaded
        self._n_files = 0
        self._writer: EventsWriter | None = None

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Write a value, now or, while the disk is full, with a later one."""
        proto: Any = event_pb2
        self._kept.append(proto.Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
        self._write()

    def close(self) -> None:
        """Write what was kept, if that is possible now."""
        self._write()
        if self._kept:
            log.warning("%d figures could not be written to %s", len(self._kept), self._folder)

    def _write(self) -> None:
        try:
            if self._writer is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._n_files += 1
                self._writer = EventsWriter(str(self._folder / "events"), f".{self._n_files}")
            for event in self._kept:
                self._writer.write_event(event)
            self._writer.flush()
        except OSError as error:
            if not is_outage(error):
                raise
            # Its last record may be torn: readers go on with the next file.
            self._writer = None
            return
        self._kept.clear()
