"""A broker that asks for TLS and a password: a gate that checks both, in front of one that asks for neither.

The embedded broker keeps no users, and librdkafka's mock cluster knows no SASL. Messages are those of Kafka's
protocol guide; who has given the password is connected to the broker.
"""

import socket
import ssl
import struct
import threading
from contextlib import suppress
from pathlib import Path

API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
SASL_AUTHENTICATION_FAILED = 58


class PasswordGate:
    """Listens on a port of 127.0.0.1; `let_in` counts connections that came through."""

    def __init__(self, certificate: Path, key: Path, user: str, password: str) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate, key)
        self._token = b"\0" + user.encode() + b"\0" + password.encode()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.broker_port = 0
        self.let_in = 0

    def open(self, broker_port: int) -> None:
        """Let clients through to a broker."""
        self.broker_port = broker_port
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Let nobody in any more."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with (
            suppress(OSError, EOFError),
            plain,
            self._tls.wrap_socket(plain, server_side=True) as client,
            socket.create_connection(("127.0.0.1", self.broker_port)) as broker,
        ):
            while not self._examine(client, broker):
                pass
            self.let_in += 1
            back = threading.Thread(target=_pipe, args=(broker, client), daemon=True)
            back.start()
            _pipe(client, broker)

    def _examine(self, client: socket.socket, broker: socket.socket) -> bool:
        """Answer one request; whether it has given the password. OSError: it gave a wrong one."""
        request = _receive(client)
        api, version, correlation, n_client_id = struct.unpack_from(">hhih", request)
        body = request[10 + max(0, n_client_id) :]
        if api == API_VERSIONS:
            broker.sendall(struct.pack(">i", len(request)) + request)
            _send(client, _receive(broker))
        elif api == SASL_HANDSHAKE:
            _send(client, struct.pack(">ihih", correlation, 0, 1, 5) + b"PLAIN")
        elif api == SASL_AUTHENTICATE:
            right = body[4:] == self._token
            lifetime = struct.pack(">q", 0) if version >= 1 else b""
            error = 0 if right else SASL_AUTHENTICATION_FAILED
            _send(client, struct.pack(">ihhi", correlation, error, -1, 0) + lifetime)
            return right
        else:
            raise OSError(f"request {api} before the password")
        return False


def _receive(peer: socket.socket) -> bytes:
    (size,) = struct.unpack(">i", _exactly(peer, 4))
    return _exactly(peer, size)


def _exactly(peer: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        if not (more := peer.recv(n - len(data))):
            raise EOFError
        data += more
    return data


def _send(peer: socket.socket, message: bytes) -> None:
    peer.sendall(struct.pack(">i", len(message)) + message)


def _pipe(source: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)
