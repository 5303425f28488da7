"""A browser as the viewer's server knows it: viser's messages over a WebSocket, without a page."""

import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec.msgpack
import numpy as np
import viser
import zstandard
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from anerf.viewer.camera import ViewFrame
from tests.viewer.patience import PATIENCE_S


class WireClient:
    """Connects, says where its camera is, and keeps what the server sends.

    As a page of the origin `page`, which asks for the server by `host` where its own name leads there.
    """

    def __init__(
        self, url: str, width: int = 640, height: int = 480, page: str | None = None, host: str | None = None
    ) -> None:
        self.size = (width, height)
        self.messages: list[tuple[float, dict[str, Any]]] = []
        self._changed = threading.Condition()
        self._n_taken = 0
        address = urlsplit(url)
        self._socket = connect(
            f"ws://{host or address.netloc}",
            sock=socket.create_connection((address.hostname, address.port)),
            origin=page,  # pyright: ignore[reportArgumentType]
            subprotocols=[f"viser-v{viser.__version__}"],  # pyright: ignore[reportArgumentType]
            max_size=None,
            compression=None,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def stand(self, frame: ViewFrame, c2w: np.ndarray, fov_y_deg: float) -> None:
        """Tell the server where the camera is."""
        wxyz, position = frame.from_enu(c2w)
        self.send(
            "ViewerCameraMessage",
            wxyz=wxyz.tolist(),
            position=position.tolist(),
            fov=float(np.radians(fov_y_deg)),
            near=0.01,
            far=1000.0,
            image_width=self.size[0],
            image_height=self.size[1],
            look_at=(position - frame.point(c2w[:, 2] * frame.scale + np.array(frame.origin))).tolist(),
            up_direction=[0.0, 0.0, 1.0],
        )

    def set(self, label: str, value: Any) -> None:
        """Set the control of this label, as a person would."""
        self.send("GuiUpdateMessage", uuid=self._uuid(label), updates={"value": value})

    def press(self, label: str) -> None:
        """Press the button of this label."""
        self.send("GuiUpdateMessage", uuid=self._uuid(label), updates={"value": True})

    def props(self, label: str) -> dict[str, Any]:
        """What is known of the control of this label, with later changes."""
        uuid = self._uuid(label)
        known: dict[str, Any] = {}
        for message in self.of_type("Gui"):
            if message.get("uuid") == uuid:
                known |= {**message.get("props", {}), **message.get("updates", {})}
                if "value" in message:
                    known["value"] = message["value"]
        return known

    def of_type(self, prefix: str) -> list[dict[str, Any]]:
        """What the server has sent of the types that begin so."""
        return [message for _, message in list(self.messages) if message["type"].startswith(prefix)]

    @property
    def pictures(self) -> list[tuple[float, np.ndarray, str]]:
        """Pictures with the time of their arrival (monotonic) and their format."""
        return [
            (at, np.asarray(Image.open(io.BytesIO(message["rgb_data"]))), message["format"])
            for at, message in list(self.messages)
            if message["type"] == "BackgroundImageMessage" and message["rgb_data"]
        ]

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until what has arrived meets the condition."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE_S), "it does not come about"

    def next_final(self) -> np.ndarray:
        """The newest picture that stays, once one came after those that were there the last time.

        For what is looked at anew once: of two looks the first one's picture may stay for a moment, too.
        """
        finals: list[np.ndarray] = []

        def arrived() -> bool:
            nonlocal finals
            finals = [picture for _, picture, kind in self.pictures if kind == "png"]
            return len(finals) > self._n_taken

        self.wait(arrived)
        self._n_taken = len(finals)
        return finals[-1]

    def send(self, kind: str, **fields: Any) -> None:
        self._socket.send(msgspec.msgpack.encode({"type": kind, **fields}))

    def closing_code(self) -> int | None:
        """Why the server closed the connection, once it has."""
        self._thread.join(PATIENCE_S)
        return self._socket.close_code

    def close(self) -> None:
        self._socket.close()
        self._thread.join(5)

    def _uuid(self, label: str) -> str:
        for message in self.of_type("Gui"):
            if message.get("props", {}).get("label") == label:
                return message["uuid"]
        raise AssertionError(f"no control {label!r}")

    def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            for raw in self._socket:
                assert isinstance(raw, bytes)
                at = time.monotonic()
                for message in _decoded(raw):
                    with self._changed:
                        self.messages.append((at, message))
                        self._changed.notify_all()


def _decoded(raw: bytes) -> list[dict[str, Any]]:
    """Two sizes, packed messages, then the arrays that they refer to, each at a multiple of 8."""
    at = 16 + int.from_bytes(raw[8:16], "little")
    inner = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(raw[16:at]))
    arrays = []
    for length in inner["binaryBufferLengths"]:
        at += -at % 8
        arrays.append(raw[at : at + length])
        at += length
    return [_filled(message, arrays) for message in inner["messages"]]


def _filled(value: Any, arrays: list[bytes]) -> Any:
    if isinstance(value, dict):
        if "__binary_index" in value:
            return arrays[value["__binary_index"]]
        return {key: _filled(part, arrays) for key, part in value.items()}
    return [_filled(part, arrays) for part in value] if isinstance(value, list) else value
