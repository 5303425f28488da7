"""On which addresses the endpoints listen, and when callers need a token."""

from pathlib import Path

import pytest

from anerf.errors import InputError
from cluster.endpoints import TOKEN_FILE, Endpoints, reachable


def asked(host: str, token_file: Path | None = None) -> Endpoints:
    return Endpoints(8000, host, token_file, ("https://map.example.org",), 2)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_on_loopback_no_token_is_made(tmp_path: Path, host: str) -> None:
    door = asked(host).door(tmp_path)
    assert (door.token_file, door.origins) == (None, ("https://map.example.org",))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "drone.example.org"])
def test_elsewhere_there_is_a_token_in_any_case(tmp_path: Path, host: str) -> None:
    door = asked(host).door(tmp_path)
    assert door.token_file == str(tmp_path / TOKEN_FILE)
    token = door.token()
    assert token is not None
    assert asked(host).door(tmp_path).token() == token, "it stays the same the next time"


def test_a_token_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "mine"
    file.write_text("a-token-of-thirty-two-characters\n")
    for host in ("127.0.0.1", "0.0.0.0"):
        assert asked(host, file).door(tmp_path / "out").token() == "a-token-of-thirty-two-characters"
    file.write_text("short")
    with pytest.raises(InputError, match="at least 16"):
        asked("0.0.0.0", file).door(tmp_path)


def test_where_an_address_is_reached() -> None:
    hosts = ("0.0.0.0", "::", "10.1.2.3", "localhost", "::1")
    assert [reachable(host) for host in hosts] == ["127.0.0.1", "::1", "10.1.2.3", "localhost", "::1"]
