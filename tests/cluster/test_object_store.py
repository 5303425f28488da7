"""The folder as an object store: whole writes, conditions that hold, and no way out of it."""

import threading
import urllib.error
import urllib.request
from xml.etree import ElementTree as ET

import pytest

from cluster.object_store import FolderStore, serve


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    return tmp_path_factory.mktemp("store") / "bucket"


@pytest.fixture(scope="module")
def store(bucket):
    server = serve(FolderStore(bucket))
    yield f"http://127.0.0.1:{server.server_port}/any"
    server.shutdown()
    server.server_close()


def ask(url, method="GET", body=None, **headers):
    request = urllib.request.Request(url, data=body, method=method)
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, b"", dict(error.headers)


def test_what_was_written_is_read_listed_and_deleted(store, bucket):
    status, _, headers = ask(f"{store}/a/b%20c.json", "PUT", b"one")
    assert status == 200
    status, body, again = ask(f"{store}/a/b%20c.json")
    assert (status, body, again["ETag"]) == (200, b"one", headers["ETag"])
    assert ask(f"{store}/a/b%20c.json", If_None_Match=headers["ETag"])[0] == 304
    assert (bucket / "a" / "b c.json").read_bytes() == b"one"
    assert b"<Key>a/b c.json</Key>" in ask(f"{store}?list-type=2&prefix=a/")[1]
    assert ask(f"{store}/a/b%20c.json", "DELETE")[0] == 204
    assert ask(f"{store}/a/b%20c.json")[0] == 404
    assert ask(f"{store}/a")[0] == 404
    assert b"<Key>" not in ask(f"{store}?list-type=2&prefix=a/")[1]


def test_writes_keep_their_conditions(store):
    url = f"{store}/x"
    assert ask(url, "PUT", b"1", If_Match='"no"')[0] == 412
    _, _, headers = ask(url, "PUT", b"1", If_None_Match="*")
    assert ask(url, "PUT", b"2", If_None_Match="*")[0] == 412
    assert ask(url, "PUT", b"2", If_Match=headers["ETag"])[0] == 200
    assert ask(url, "PUT", b"3", If_Match=headers["ETag"])[0] == 412
    assert ask(url)[1] == b"2"


def test_of_many_writers_one_at_a_time_is_let_through(store):
    url = f"{store}/counter"
    ask(url, "PUT", b"0")

    def count():
        done = 0
        while done < 10:
            _, body, headers = ask(url)
            done += ask(url, "PUT", str(int(body) + 1).encode(), If_Match=headers["ETag"])[0] == 200

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ask(url)[1] == b"40"


@pytest.mark.parametrize("key", ["../out", "a/../../out", "%2e%2e/out", "a//b", "", ".tmp-1", "a%00b"])
def test_no_key_leaves_the_folder(store, bucket, key):
    assert ask(f"{store}/{key}", "PUT", b"x")[0] == 400
    assert not (bucket.parent / "out").exists()


def test_long_lists_come_in_pages(tmp_path):
    (tmp_path / "bucket" / "r").mkdir(parents=True)
    for i in range(1001):
        (tmp_path / "bucket" / "r" / f"{i:05}").write_bytes(b"")
    (tmp_path / "bucket" / "r" / ".tmp-cut-off").write_bytes(b"")
    (tmp_path / "bucket" / "z").write_bytes(b"")
    server = serve(FolderStore(tmp_path / "bucket"))
    url = f"http://127.0.0.1:{server.server_port}/any?list-type=2&prefix=r/"
    page = ET.fromstring(ask(url)[1])
    assert (len(page.findall("Contents")), page.findtext("IsTruncated")) == (1000, "true")
    rest = ET.fromstring(ask(f"{url}&continuation-token={page.findtext('NextContinuationToken')}")[1])
    assert [c.findtext("Key") for c in rest.findall("Contents")] == ["r/01000"]
    assert rest.findtext("IsTruncated") == "false"
    groups = ET.fromstring(ask(f"http://127.0.0.1:{server.server_port}/any?list-type=2&delimiter=/")[1])
    assert [g.findtext("Prefix") for g in groups.findall("CommonPrefixes")] == ["r/"]
    server.shutdown()
    server.server_close()
