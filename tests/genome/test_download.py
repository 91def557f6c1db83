"""Downloads from a server that breaks off, forgets, changes its mind, or has nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from file_server import FileServer

from dnabert_nemo.errors import ConfigError, FetchError
from dnabert_nemo.genome.download import DownloadSettings, download, fetch_text
from dnabert_nemo.genome.part_file import PartFile, part_of

CONTENT = bytes(range(256)) * 2000
QUICK = DownloadSettings(max_tries=3, timeout=5, first_wait=0.01)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        server.add("/x.gz", CONTENT)
        yield server
        server.shutdown()
        thread.join()


def fetched(server: FileServer, folder: Path) -> bytes:
    part = part_of(folder / "x.gz")
    download(server.url + "/x.gz", part, QUICK, threading.Event())
    return part.read_bytes()


def test_a_connection_that_drops_is_taken_up_where_it_ended(server: FileServer, tmp_path: Path) -> None:
    server.drop_after = [100_000, 50_000, 1000, 200_000]  # more than max_tries, but each gets further
    assert fetched(server, tmp_path) == CONTENT
    assert [wanted for _, wanted, _ in server.asked] == [
        None,
        "bytes=100000-",
        "bytes=150000-",
        "bytes=151000-",
        "bytes=351000-",
    ]
    assert all(condition for _, _, condition in server.asked[1:])


@pytest.mark.parametrize("has_length", [True, False])
def test_tries_that_get_no_further_come_to_an_end(
    server: FileServer, tmp_path: Path, has_length: bool
) -> None:
    server.has_length = has_length
    server.drop_after = [1000, 0, 0, 0, 0, 0]
    if not has_length:  # then only the range tells that bytes are missing
        assert len(fetched(server, tmp_path)) == 1000
        return
    with pytest.raises(
        FetchError, match=r"/x.gz: given up after 3 tries .*: check the network .* goes on from there"
    ):
        fetched(server, tmp_path)
    assert (tmp_path / "x.gz.part").read_bytes() == CONTENT[:1000]
    assert len(server.asked) == 3
    server.drop_after = []
    assert fetched(server, tmp_path) == CONTENT
    assert server.asked[3][1] == "bytes=1000-"


def test_without_ranges_it_starts_anew(server: FileServer, tmp_path: Path) -> None:
    server.has_ranges = False
    server.drop_after = [300_000, 200_000]
    assert fetched(server, tmp_path) == CONTENT
    assert len(server.asked) == 3


@pytest.mark.parametrize("minds_if_range", [True, False])
def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(
    server: FileServer, tmp_path: Path, minds_if_range: bool
) -> None:
    server.minds_if_range = minds_if_range
    server.drop_after = [300_000, 0, 0]
    with pytest.raises(FetchError, match="given up after 3 tries"):
        fetched(server, tmp_path)
    server.drop_after = []
    server.add("/x.gz", CONTENT[::-1])
    assert fetched(server, tmp_path) == CONTENT[::-1]


def test_a_weak_etag_is_no_condition_but_a_date_is(server: FileServer, tmp_path: Path) -> None:
    server.etag_is_weak, server.minds_if_range = True, False
    server.headers = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    server.drop_after = [5]
    assert fetched(server, tmp_path) == CONTENT
    assert server.asked[1][1:] == ("bytes=5-", "Wed, 21 Oct 2015 07:28:00 GMT")


def test_a_part_that_is_whole_too_long_or_of_another_address(server: FileServer, tmp_path: Path) -> None:
    assert fetched(server, tmp_path) == fetched(server, tmp_path) == CONTENT
    assert [wanted for _, wanted, _ in server.asked] == [None, f"bytes={len(CONTENT)}-"]
    with (tmp_path / "x.gz.part").open("ab") as part:
        part.write(b"more")
    assert fetched(server, tmp_path) == CONTENT
    server.drop_after = [10]
    other = server.add("/other", CONTENT[::-1])
    download(other, tmp_path / "x.gz.part", QUICK, threading.Event())
    assert (tmp_path / "x.gz.part").read_bytes() == CONTENT[::-1]


def test_what_nobody_knows_the_origin_of_is_not_gone_on_with(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "x.gz.part").write_bytes(b"anything")
    (tmp_path / "x.gz.part.json").write_text("[]")
    assert fetched(server, tmp_path) == CONTENT


def test_two_runs_do_not_write_into_one_part(server: FileServer, tmp_path: Path) -> None:
    with (
        PartFile.opened(tmp_path / "x.gz.part", server.url),
        pytest.raises(FetchError, match="another run is fetching this file"),
    ):
        fetched(server, tmp_path)


def test_bytes_come_as_they_are_stored(server: FileServer, tmp_path: Path) -> None:
    server.headers = {"Content-Encoding": "gzip"}  # as some servers say of every .gz
    assert fetched(server, tmp_path) == CONTENT


def test_a_busy_server_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    server.statuses, server.headers = [429, 520], {"Retry-After": "0"}
    assert fetched(server, tmp_path) == CONTENT
    server.statuses = [500, 502, 503]
    with pytest.raises(FetchError, match=r"3 tries .* \(status 503 Service Unavailable\): "):
        download(server.url + "/x.gz", tmp_path / "y.part", QUICK, threading.Event())


@pytest.mark.parametrize("status", [404, 410, 403])
def test_what_is_not_there_is_asked_for_once(server: FileServer, tmp_path: Path, status: int) -> None:
    server.statuses = [status]
    with pytest.raises(FetchError, match=rf"^http://.*/x.gz: .*status {status}.*: check the addr"):
        fetched(server, tmp_path)
    assert len(server.asked) == 1
    assert list(tmp_path.iterdir()) == []


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url = "http://127.0.0.1:1/x"
    with pytest.raises(
        FetchError, match=r"^http://127.0.0.1:1/x: given up after 3 tries .*check the network"
    ):
        download(url, tmp_path / "x.part", QUICK, threading.Event())


def test_a_full_disk(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "x.gz.part").symlink_to("/dev/full")
    with pytest.raises(FetchError, match=r"No space left on device\): make room or pass another output_dir"):
        fetched(server, tmp_path)
    with pytest.raises(FetchError, match=r"cannot be written .*: make room or pass another output_dir"):
        fetched(server, tmp_path / "absent")


def test_stopping_leaves_what_has_come(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "x.gz.part").write_bytes(CONTENT[:10])
    stop = threading.Event()
    stop.set()
    with pytest.raises(CancelledError):
        download(server.url + "/x.gz", tmp_path / "x.gz.part", QUICK, stop)
    assert (tmp_path / "x.gz.part").read_bytes() == CONTENT[:10]


def test_texts(server: FileServer) -> None:
    url = server.add("/CHECKSUMS", b"1 1 a\n")
    server.statuses, server.drop_after = [503], [2]
    assert fetch_text(url, QUICK, threading.Event()) == "1 1 a\n"


@pytest.mark.parametrize(
    "given",
    [
        {"num_workers": 0},
        {"max_tries": 0},
        {"max_tries": 1.5},
        {"timeout": 0},
        {"first_wait": "x"},
        {"timeout": True},
    ],
)
def test_settings_have_limits(given: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(given))):
        DownloadSettings(**given)
