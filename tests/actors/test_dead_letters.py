"""Dead letters that a broker does not take as they are."""

from typing import Any

from confluent_kafka import KafkaError

from actors.dead_letters import CUT, DeadLetters, headers_of

LIMIT_BYTES = 200_000


class NarrowBroker:
    """In the place of a producer: takes what has at most so many bytes, headers included."""

    def __init__(self) -> None:
        self.taken: list[tuple[Any, Any, dict[str, bytes]]] = []
        self.n_asked = 0
        self._reports: list[Any] = []

    def produce(self, topic, value, key, headers, on_delivery):
        self.n_asked += 1
        parts = [value or b"", key or b"", *(part for header in headers for part in header)]
        error = None
        if sum(map(len, parts)) > LIMIT_BYTES:
            error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
        else:
            self.taken.append((value, key, dict(headers)))
        self._reports.append(lambda: on_delivery(error, None))

    def poll(self, _timeout_s):
        reports, self._reports = self._reports, []
        for report in reports:
            report()


class NoJob:
    """A message as a consumer gives it."""

    def __init__(self, value=None, key=None, headers=None):
        self.value, self.key, self.headers = (lambda: value), (lambda: key), (lambda: headers)

    def topic(self):
        return "jobs"

    def partition(self):
        return 3

    def offset(self):
        return 7


def sent(message):
    letters, broker = DeadLetters({"bootstrap.servers": "127.0.0.1:1"}), NarrowBroker()
    letters._producer = broker  # pyright: ignore[reportAttributeAccessIssue]
    letter = letters.send(message, headers_of(message), "it is no job")
    for _ in range(10):
        letters.poll()
    assert letter.delivered
    (taken,) = broker.taken
    return broker.n_asked, *taken


def test_what_fits_goes_whole():
    own = [("trace", b"x")]
    n, value, key, headers = sent(NoJob(b"{}", b"k", own))
    assert (n, value, key) == (1, b"{}", b"k")
    assert headers == {
        "trace": b"x", "reason": b"it is no job", "topic": b"jobs", "partition": b"3", "offset": b"7",
    }  # fmt: skip


def test_a_large_value_is_cut():
    n, value, key, headers = sent(NoJob(b"v" * 300_000, b"k"))
    assert (n, len(value), key, headers[CUT]) == (2, 65536, b"k", b"300000")


def test_a_large_key_and_large_headers_do_not_stop_the_topic():
    n, value, key, headers = sent(NoJob(b"{}", b"k" * 199_990))
    assert (n, value, len(key), headers[CUT]) == (2, b"{}", 65536, b"2")
    n, value, key, headers = sent(NoJob(None, None, [("mine", b"h" * 199_999)]))
    assert (n, value, key, headers[CUT], headers["offset"]) == (2, None, None, b"0", b"7")
    assert "mine" not in headers
