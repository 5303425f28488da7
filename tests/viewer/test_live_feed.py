"""Followers of running jobs hear what there is to hear, above all the end."""

import threading
import time

import pytest

from anerf.errors import AnerfError
from anerf.viewer.feed import LiveFeed
from anerf.viewer.live import JobNews
from tests.viewer.patience import PATIENCE_S, wait_for

END = "SUCCEEDED"


class OneJob:
    """The jobs of a cluster that has one."""

    def __init__(self) -> None:
        self.state = "learning"
        self.trouble: Exception | None = None
        self.asked = threading.Event()

    def news(self, job_id: str) -> JobNews:
        trouble = self.trouble
        self.asked.set()
        if trouble is not None:
            raise trouble
        return JobNews(job_id, "train", self.state)


class Listener:
    def __init__(self) -> None:
        self.states: list[str] = []

    def hear(self, news: JobNews) -> None:
        self.states.append(news.state)


@pytest.fixture
def job() -> OneJob:
    return OneJob()


@pytest.fixture
def feed(job: OneJob) -> LiveFeed:
    return LiveFeed(job)  # pyright: ignore[reportArgumentType]


def test_all_followers_hear_the_end_once_and_those_who_left_do_not(job, feed):
    one, other, gone = Listener(), Listener(), Listener()
    for who, listener in enumerate((one, other, gone)):
        feed.follow("j", who, listener.hear)
    wait_for(lambda: one.states and other.states)
    feed.leave(2)
    job.state = END
    wait_for(lambda: END in one.states and END in other.states)
    time.sleep(0.3)
    assert one.states.count(END) == other.states.count(END) == 1
    assert END not in gone.states


class Inviting(Listener):
    """Brings somebody else as soon as it hears anything."""

    def __init__(self, feed: LiveFeed, guest: Listener) -> None:
        super().__init__()
        self._feed, self._guest = feed, guest

    def hear(self, news: JobNews) -> None:
        super().hear(news)
        self._feed.follow("j", 1, self._guest.hear)


def test_who_comes_while_the_end_is_told_hears_it_too(job, feed):
    job.state = END
    late = Listener()
    first = Inviting(feed, late)
    feed.follow("j", 0, first.hear)
    wait_for(lambda: late.states)
    assert (first.states, late.states) == ([END], [END])


def test_the_thread_that_told_an_end_takes_nobody_from_a_newer_one(job, feed):
    job.state = END
    late = Listener()

    class Reviving(Inviting):
        def hear(self, news: JobNews) -> None:
            job.state = "learning"
            super().hear(news)

    feed.follow("j", 0, Reviving(feed, late).hear)
    wait_for(lambda: late.states and n_threads() == 1)
    assert set(late.states) == {"learning"}
    feed.leave(1)
    wait_for(lambda: n_threads() == 0)


def n_threads() -> int:
    return sum(thread.name == "follows j" for thread in threading.enumerate())


def test_what_goes_wrong_for_a_while_ends_nothing(job, feed):
    one = Listener()
    job.trouble = AnerfError("nobody answers")
    feed.follow("j", 0, one.hear)
    assert job.asked.wait(PATIENCE_S)
    job.trouble = OSError(28, "No space left on device")
    job.asked.clear()
    assert job.asked.wait(PATIENCE_S)
    assert one.states == []
    job.trouble = None
    wait_for(lambda: one.states)
    assert set(one.states) == {"learning"}
    feed.leave(0)
