"""The embedded broker with its messages in a folder: `python -m cluster.durable_broker FOLDER COMMAND...`.

One process that keeps the folder (`cluster.object_store`) and watches over the broker, which it starts again
when it ends: what was acknowledged is on the disk, so a broker that was killed goes on where it was.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

from anerf import logs
from cluster.object_store import FolderStore, serve

logger = logging.getLogger(__name__)

BUCKET = "s3://anerf/"
_PAUSE_S = 1.0
_GRACE_S = 5.0


def main(folder: Path, command: list[str]) -> None:
    """Keep the broker running until a SIGTERM."""
    logs.configure()
    server = serve(FolderStore(folder))
    address = f"http://127.0.0.1:{server.server_port}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ENDPOINT": address,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "here",
        # The store asks nobody who they are; the broker's client insists on having a name.
        "AWS_ACCESS_KEY_ID": "anerf",
        "AWS_SECRET_ACCESS_KEY": "anerf",
    }
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    while not stopping.is_set():
        with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL) as broker:
            while broker.poll() is None and not stopping.wait(0.1):
                pass
            if broker.poll() is None:
                broker.terminate()
                try:
                    broker.wait(_GRACE_S)
                except subprocess.TimeoutExpired:
                    broker.kill()
        if not stopping.is_set():
            logger.error("the broker ended with status %s: starting it again", broker.returncode)
            stopping.wait(_PAUSE_S)
    server.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
