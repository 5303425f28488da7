"""The feed is bounded, and who reads it late still hears how every job has ended."""

import pytest

from actors.mediator import Feed
from anerf.jobs.spec import parse_job
from anerf.jobs.states import JobState
from anerf.jobs.table import JobTable


@pytest.fixture
def table(tmp_path) -> JobTable:
    table = JobTable(tmp_path)
    for job_id in ("ended", "busy"):
        table.submit(parse_job({"op": "train", "scene": "/s", "job_id": job_id}), "kafka")
        table.change(job_id, JobState.RUNNING)
    return table


def busy(table: JobTable, n: int) -> None:
    for step in range(n):
        table.accepted("busy").log.append("progress", step=step, of_steps=100)


def ends(news) -> list[str]:
    return [job.job_id for job, _ in news.items if job.record.state.is_terminal]


def test_a_reader_that_has_fallen_behind_hears_the_last_of_each_job_first(table):
    feed = Feed(length=5)
    feed.add(table.take_news())
    read = feed.since("", 0)
    table.change("ended", JobState.SUCCEEDED)
    feed.add(table.take_news())
    busy(table, 20)
    feed.add(table.take_news())
    late = feed.since(read.feed, read.next)
    assert ends(late) == ["ended"]
    assert [event.get("step") for _, event in late.items] == [None, 14, 15, 16, 17, 18, 19]
    assert late.next == read.next + 21
    assert ends(feed.since("another life", 99)) == ["ended"]


def test_what_was_read_is_not_told_again(table):
    feed = Feed(length=5)
    table.change("ended", JobState.SUCCEEDED)
    feed.add(table.take_news())
    busy(table, 4)
    feed.add(table.take_news())
    read = feed.since("", 0)
    assert feed.since(read.feed, read.next).items == ()
    busy(table, 20)
    feed.add(table.take_news())
    assert ends(feed.since(read.feed, read.next)) == []
    assert [e["step"] for _, e in feed.since(read.feed, read.next + 18).items] == [18, 19]
