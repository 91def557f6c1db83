"""References fetched into a folder: verified or not there, and what a second run makes of it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from dnabert_nemo.command import CONF
from dnabert_nemo.errors import ConfigError, FetchError, FormatError
from dnabert_nemo.genome.download import DownloadSettings
from dnabert_nemo.genome.fetch import fetch_references
from dnabert_nemo.genome.references import FETCHED, references_of

SCRIPT = Path(__file__).parents[2] / "examples" / "fetch_references.py"
CONTENTS = {f"{name}.fa.gz": bytes(range(256)) * (50 + 10 * i) for i, name in enumerate("abc")}
QUICK = DownloadSettings(num_workers=2, max_tries=2, timeout=5, first_wait=0.01)


def listing(contents: dict[str, bytes]) -> bytes:
    """Write a CHECKSUMS file as Ensembl has it, by a plain loop."""
    lines = []
    for name, content in contents.items():
        checksum = 0
        for byte in content:
            checksum = ((checksum >> 1) | (checksum & 1) << 15) + byte & 0xFFFF
        lines.append(f"{checksum:05d} {(len(content) + 1023) // 1024:5d} {name}\n")
    return "".join(lines).encode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        for name, content in CONTENTS.items():
            server.add(f"/dna/{name}", content)
        server.add("/dna/CHECKSUMS", listing(CONTENTS))
        yield server
        server.shutdown()
        thread.join()


def entries(server: FileServer, **more: object) -> dict[str, dict[str, object]]:
    """Name the three files, with what more is said of "a"."""
    found = {name[0]: {"url": f"{server.url}/dna/{name}", "checksums": "CHECKSUMS"} for name in CONTENTS}
    found["a"] |= more
    return found


def fetch(folder: Path, files: dict, settings: DownloadSettings = QUICK) -> list[str]:
    return [path.name for path in fetch_references(references_of(files), folder, settings)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != FETCHED}


def test_files_and_their_list(server: FileServer, tmp_path: Path) -> None:
    assert fetch(tmp_path / "new" / "refs", entries(server)) == list(CONTENTS)
    folder = tmp_path / "new" / "refs"
    assert contents(folder) == CONTENTS
    rows = [line.split("\t") for line in (folder / FETCHED).read_text().splitlines()]
    assert rows[0] == ["name", "url", "bytes", "sha256"]
    assert rows[1:] == [
        [name, f"{server.url}/dna/{name}", str(len(content)), hashlib.sha256(content).hexdigest()]
        for name, content in CONTENTS.items()
    ]
    assert len(server.asked) == 4  # the list of checksums once


def test_a_second_run_fetches_nothing_and_sees_damage(server: FileServer, tmp_path: Path) -> None:
    fetch(tmp_path, entries(server))
    server.asked.clear()
    fetch(tmp_path, entries(server))
    assert server.asked == []
    (tmp_path / FETCHED).unlink()
    fetch(tmp_path, entries(server))
    assert [path for path, _, _ in server.asked] == ["/dna/CHECKSUMS"]
    (tmp_path / "b.fa.gz").write_bytes(b"cut")
    with pytest.raises(FetchError, match=r"b.fa.gz: sha256 is .* where references.tsv says .*: remove it to"):
        fetch(tmp_path, entries(server))
    (tmp_path / FETCHED).unlink()
    with pytest.raises(
        FetchError, match=r"b.fa.gz: sum is \d+ 1, where http.*CHECKSUMS says .*: remove it to"
    ):
        fetch(tmp_path, entries(server))
    assert contents(tmp_path) == {**CONTENTS, "b.fa.gz": b"cut"}


def test_what_was_broken_off_is_gone_on_with_by_the_next_run(server: FileServer, tmp_path: Path) -> None:
    one = DownloadSettings(num_workers=1, max_tries=1, timeout=5, first_wait=0.01)
    files = {"a": entries(server)["a"]}
    server.drop_after = [10_000, 700]  # of the list, which is shorter, and of the file
    with pytest.raises(FetchError, match=r"a.fa.gz: given up after 1 try"):
        fetch(tmp_path, files, one)
    assert (tmp_path / "a.fa.gz.part").read_bytes() == CONTENTS["a.fa.gz"][:700]
    assert not (tmp_path / "a.fa.gz").exists()
    assert fetch(tmp_path, files, one) == ["a.fa.gz"]
    assert server.asked[-1][1] == "bytes=700-"
    assert contents(tmp_path) == {"a.fa.gz": CONTENTS["a.fa.gz"]}


def test_a_wrong_checksum_leaves_nothing_and_the_others_come(server: FileServer, tmp_path: Path) -> None:
    server.add("/dna/a.fa.gz", b"other")
    with pytest.raises(FetchError) as caught:
        fetch(tmp_path, entries(server))
    right = " ".join(str(int(word)) for word in listing(CONTENTS).split()[:2])
    assert re.match(r"http://.*/a.fa.gz: sum is \d+ 1, where ", str(caught.value))
    assert f"CHECKSUMS says {right}: removed what came" in str(caught.value)
    assert contents(tmp_path) == {name: CONTENTS[name] for name in ("b.fa.gz", "c.fa.gz")}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"sha256": "0" * 64}, "sha256 is .* where the config says 0000"),
        ({"md5": "0" * 32}, "md5 is .* where the config says 0000"),
        ({"sum": "1 2"}, "sum is .* where the config says 1 2"),
        ({"size": 5}, "12,800 bytes, not the 5 of the config"),
        ({"checksums": "/absent"}, "a.fa.gz cannot be verified: http.*/absent: no such file"),
        ({"checksums": "a.fa.gz"}, "a.fa.gz, line 1: no list of checksums"),
    ],
)
def test_what_the_config_says_of_a_file(server: FileServer, tmp_path: Path, given: dict, says: str) -> None:
    with pytest.raises((FetchError, FormatError), match=says):
        fetch(tmp_path, entries(server, **given))
    assert contents(tmp_path) == {name: CONTENTS[name] for name in ("b.fa.gz", "c.fa.gz")}
    content = CONTENTS["a.fa.gz"]
    right = {"size": len(content), "md5": hashlib.md5(content).hexdigest().upper()}
    assert fetch(tmp_path, entries(server, **right)) == list(CONTENTS)


def test_a_file_its_list_does_not_have(server: FileServer, tmp_path: Path) -> None:
    server.add("/dna/CHECKSUMS", listing({"b.fa.gz": CONTENTS["b.fa.gz"]}))
    with pytest.raises(FetchError, match=r"2 of 3 files are not there; the first: .*lists no [ac].fa.gz"):
        fetch(tmp_path, entries(server))
    assert contents(tmp_path) == {"b.fa.gz": CONTENTS["b.fa.gz"]}


def test_ctrl_c_leaves_the_part(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.drop_after = [10_000, 700]
    waiting = threading.Event()

    def interrupted(futures: list) -> Iterator[None]:
        assert waiting.wait(10)
        raise KeyboardInterrupt
        yield

    def wait(self: threading.Event, seconds: float | None = None) -> bool:
        if seconds == 50:
            waiting.set()
        return really_wait(self, seconds)

    really_wait = threading.Event.wait
    monkeypatch.setattr("dnabert_nemo.genome.fetch.as_completed", interrupted)
    monkeypatch.setattr(threading.Event, "wait", wait)
    patient = DownloadSettings(num_workers=1, max_tries=9, timeout=5, first_wait=50)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, {"a": entries(server)["a"]}, patient)
    assert (tmp_path / "a.fa.gz.part").read_bytes() == CONTENTS["a.fa.gz"][:700]
    assert not (tmp_path / "a.fa.gz").exists()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "references.files is empty: pass references=grch38"),
        ({"a": {"name": "x"}}, "references.files.a: no address"),
        ({"a": {"url": "ftp://x/y"}}, r"references.files.a.url=ftp://x/y: cannot be fetched: .*https://"),
        ({"a": {"url": "http://x/y", "sha": 1}}, "references.files.a.sha: no such key"),
        ({"a": {"url": "http://x/y/"}}, "references.files.a: '' cannot be the name"),
        ({"a": {"url": "http://x/y", "name": "../y"}}, "'../y' cannot be the name"),
        ({"a": {"url": "http://x/%2e%2e"}}, "'..' cannot be the name"),
        ({"a": {"url": "http://x/references.tsv"}}, "cannot be the name"),
        ({"a": {"url": "http://x/y.part"}}, "cannot be the name"),
        ({"a": {"url": "http://x/y", "size": 1.5}}, "references.files.a.size=1.5: give the number of bytes"),
        ({"a": {"url": "http://x/y", "md5": "0"}}, "references.files.a.md5: '0' is no md5: give 32 hexa"),
        ({"a": {"url": "http://x/y", "md5": "0" * 32, "sum": "1 1"}}, "both md5 and sum: give one"),
        ({"a": {"url": "http://x/y"}, "b": {"url": "http://z/y"}}, "its file is called y, as that of a"),
    ],
)
def test_references_that_cannot_be(files: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        references_of(files)


def test_a_damaged_list_of_what_was_fetched(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / FETCHED).write_text("name\turl\tbytes\tsha256\nx\ty\n")
    with pytest.raises(FormatError, match=r"references.tsv, line 2: not as it was written: remove the file"):
        fetch(tmp_path, entries(server))


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--config-name", "fetch_references", *overrides]
    env = os.environ | {"NO_PROXY": "127.0.0.1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=env)


def test_the_command_fetches_the_human_genome(server: FileServer, tmp_path: Path) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("fetch_references", [f"references.server={server.url}"])
        corpus = compose("prepare_shards", ["corpus=grch38", "folder=refs", "output_dir=x"])
    references = references_of(OmegaConf.to_container(config, resolve=True)["references"]["files"])
    assert len(references) == 26
    folders: dict[str, dict[str, bytes]] = {}
    for number, reference in enumerate(references):
        path = reference.url.removeprefix(server.url)
        server.add(path, bytes([number]) * 100)
        assert reference.checksums == f"{server.url}{os.path.dirname(path)}/CHECKSUMS"
        folders.setdefault(os.path.dirname(path), {})[reference.name] = server.files[path]
    for folder, files in folders.items():
        server.add(f"{folder}/CHECKSUMS", listing(files))
    overrides = [f"references.server={server.url}", "output_dir=refs"]
    done = run(tmp_path, *overrides, "only=[chr20,chr21]")
    assert done.returncode == 0, done.stderr
    assert sorted(contents(tmp_path / "refs")) == [
        f"Homo_sapiens.GRCh38.dna_sm.chromosome.{number}.fa.gz" for number in (20, 21)
    ]
    done = run(tmp_path, *overrides)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert len(done.stdout.splitlines()) == 26
    files = OmegaConf.to_container(corpus, resolve=True)["corpus"]["GRCh38"]["fasta"]
    assert len(files) == 21
    assert all((tmp_path / file).exists() for file in files)


def test_the_command_fails_in_one_line(server: FileServer, tmp_path: Path) -> None:
    overrides = [f"references.server={server.url}", "only=chrMT", "first_wait=0.01"]
    done = run(tmp_path, *overrides)
    assert done.returncode == 2
    assert re.fullmatch(
        r"error: .*MT.fa.gz cannot be verified: http.*CHECKSUMS: no such file .*\n", done.stderr
    )
    assert run(tmp_path, *overrides, "max_tries=0").stderr.startswith("error: max_tries=0: give a whole")
