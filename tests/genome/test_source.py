"""Sources: what is stored comes out whole with its checksum, from anywhere and packed anyhow, or never."""

from __future__ import annotations

import errno
import functools
import hashlib
import http.server
import os
import random
import subprocess
import sys
import threading

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packers import PACKED, PACKERS, bgzip

from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.source import Source, quoted
from dnabert_nemo.genome.unpacking import zstd

TEXT = b">a\n" + "".join(random.Random(1).choices("ACGT", k=500)).encode()
any_text = st.binary(max_size=300) | st.binary(max_size=9).map(lambda part: part * 1_000)


def content(source: Source, size: int = -1) -> bytes:
    with source.open() as stream:
        return b"".join(iter(functools.partial(stream.read, size), b""))


def sha256(stored: bytes) -> str:
    return hashlib.sha256(stored).hexdigest()


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(PACKED),
    st.lists(any_text, min_size=1, max_size=4),
    st.integers(0, 9),
    st.sampled_from([-1, 7, 4096]),
    st.sampled_from(["x.gz", "x"]),
)
def test_members_streams_and_frames_in_a_row_are_one_text(tmp_path, packer, parts, num_zeros, size, name):
    stored = b"".join(map(PACKERS[packer], parts))
    if packer != "bgzip":  # whose end marker stands last
        stored += bytes(num_zeros)
    (tmp_path / name).write_bytes(stored)
    source = Source(tmp_path / name)
    assert content(source, size) == b"".join(parts)
    assert source.sha256 == sha256(stored)
    assert source.name == name


@given(any_text.filter(lambda text: len(text) > 20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_plain_bytes_are_as_they_are_stored(tmp_path, text):
    (tmp_path / "x.gz").write_bytes(b"~" + text)
    source = Source(tmp_path / "x.gz")
    assert content(source) == b"~" + text
    assert source.sha256 == sha256(b"~" + text)


@pytest.mark.parametrize("packer", PACKED)
def test_a_file_cut_off_anywhere_is_an_error(tmp_path, packer):
    stored = PACKERS[packer](TEXT)
    assert content(Source(_written(tmp_path, stored))) == TEXT
    for length in range(6, len(stored)):  # with fewer bytes it is not known to be packed
        with pytest.raises(FormatError, match="data end too early: the file is cut off, copy it again"):
            content(Source(_written(tmp_path, stored[:length])))


@pytest.mark.parametrize("packer", PACKED)
def test_a_byte_changed_anywhere_is_an_error_or_makes_no_difference(tmp_path, packer):
    stored = PACKERS[packer](TEXT)
    num_errors = 0
    for place in range(6, len(stored)):
        damaged = bytearray(stored)
        damaged[place] ^= 0x5A
        try:
            assert content(Source(_written(tmp_path, bytes(damaged)))) == TEXT
        except FormatError as error:
            assert "copy" in str(error) or "memory" in str(error)
            num_errors += 1
    assert num_errors > 0.6 * len(stored)


@pytest.mark.parametrize("packer", PACKED)
@pytest.mark.parametrize("rest", [b"and more", b"\n", b"\0\0x", TEXT])
def test_other_bytes_after_the_packed_ones_are_an_error(tmp_path, packer, rest):
    with pytest.raises(FormatError, match="copy"):
        content(Source(_written(tmp_path, PACKERS[packer](TEXT) + rest)))


def test_a_damaged_second_frame_is_no_end(tmp_path):
    for packer in PACKED:
        second = bytearray(PACKERS[packer](TEXT))
        second[2] ^= 1
        with pytest.raises(FormatError, match=r"data (are damaged|end too early)"):
            content(Source(_written(tmp_path, PACKERS[packer](TEXT) + bytes(second))))


def test_bgzip_without_its_end_marker_is_cut_off_though_its_blocks_are_whole(tmp_path):
    with pytest.raises(FormatError, match="gzip data end too early"):
        content(Source(_written(tmp_path, bgzip(TEXT)[:-28])))


def test_a_skippable_frame_is_skipped(tmp_path):
    frame = bytes.fromhex("502a4d18") + b"\4\0\0\0abcd"
    assert content(Source(_written(tmp_path, frame + PACKERS["zstd"](TEXT) + frame))) == TEXT


def test_zstd_that_takes_too_much_memory_is_told(tmp_path):
    options = {zstd.CompressionParameter.window_log: 30}
    compressor = zstd.ZstdCompressor(options=options)
    stored = compressor.compress(TEXT) + compressor.flush()
    with pytest.raises(FormatError, match="packed by zstd --long"):
        content(Source(_written(tmp_path, stored)))


@pytest.mark.parametrize(
    ("head", "what"), [(b"PK\3\4", "a zip archive, .*unzip"), (b"\x1f\x9d", "packed by compress")]
)
def test_other_archives_are_named_with_the_command_that_unpacks_them(tmp_path, head, what):
    with pytest.raises(FormatError, match=what):
        content(Source(_written(tmp_path, head + TEXT)))


@pytest.mark.parametrize("packer", PACKERS)
def test_a_pipe_that_gives_a_byte_at_a_time_is_read(tmp_path, packer):
    stored = PACKERS[packer](TEXT)
    os.mkfifo(tmp_path / "pipe")

    def write() -> None:
        with open(tmp_path / "pipe", "wb", buffering=0) as pipe:
            for byte in stored:
                pipe.write(bytes([byte]))

    writer = threading.Thread(target=write)
    writer.start()
    source = Source(tmp_path / "pipe")
    assert content(source) == TEXT
    assert source.sha256 == sha256(stored)
    writer.join()


@pytest.mark.parametrize("path", ["-", "/dev/stdin"])
def test_standard_input_is_read_also_by_a_worker_process(path):
    code = (
        "import sys, multiprocessing\n"
        "from dnabert_nemo.genome.source import Source\n"
        "def read(path):\n"
        "    source = Source(path)\n"
        "    with source.open() as stream:\n"
        "        print(source.name, len(stream.read()), source.sha256, flush=True)\n"
        "process = multiprocessing.get_context('fork').Process(target=read, args=sys.argv[1:])\n"
        "process.start()\n"
        "process.join()\n"
    )
    stored = PACKERS["gzip"](TEXT)
    done = subprocess.run([sys.executable, "-c", code, path], input=stored, capture_output=True, check=True)
    assert done.stdout.decode().split() == ["stdin", str(len(TEXT)), sha256(stored)]


def test_urls_are_read(tmp_path):
    stored = PACKERS["xz"](TEXT)
    with fsspec.open("memory://genomes/x.fa.xz", "wb") as file:
        file.write(stored)
    (tmp_path / "x.fa.xz").write_bytes(stored)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for url in (
        "memory://genomes/x.fa.xz",
        f"file://{tmp_path}/x.fa.xz",
        f"http://127.0.0.1:{server.server_port}/x.fa.xz?token=1",
    ):
        source = Source(url)
        assert content(source) == TEXT
        assert (source.name, source.sha256) == ("x.fa.xz", sha256(stored))
    server.shutdown()


def test_a_package_or_protocol_that_is_missing_is_told(monkeypatch):
    for package in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)
    for url, remedy in {
        "s3://bucket/x.fa": r"pip install dnabert_nemo\[s3\]",
        "gs://bucket/x.fa": r"pip install dnabert_nemo\[gcs\]",
        "teleport://bucket/x.fa": r"not a URL that can be opened .*use s3://",
    }.items():
        with pytest.raises(ConfigError, match=remedy):
            content(Source(url))


def test_what_is_missing_is_told(tmp_path):
    for path in (tmp_path / "nowhere.fa", "memory://nowhere.fa"):
        with pytest.raises(FormatError, match=r"nowhere\.fa: no such file: check the path"):
            content(Source(path))
    with pytest.raises(FormatError, match="cannot be read: Is a directory: name the file in it"):
        content(Source(tmp_path))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "cannot be read: Permission denied: ask for"),
        (OSError(errno.EIO, "Input/output error"), r"cannot be read \(Input/output error\): check"),
        (RuntimeError("no route"), r"cannot be read \(RuntimeError: no route\): check .* the network"),
    ],
)
def test_what_goes_wrong_on_the_way_is_told(monkeypatch, error, message):
    class Broken:
        def __init__(self) -> None:
            self.chunks = [TEXT]

        def read(self, size: int) -> bytes:
            if self.chunks:
                return self.chunks.pop()[:size]
            raise error

        def close(self) -> None:
            pass

    monkeypatch.setattr(MemoryFileSystem, "open", lambda *args: Broken())
    with pytest.raises(FormatError, match=message):
        content(Source("memory://x.fa"))


def test_an_error_of_the_reader_passes_through_and_the_checksum_needs_the_end(tmp_path):
    source = Source(_written(tmp_path, PACKERS["gzip"](TEXT * 1_000)))
    with pytest.raises(KeyError), source.open() as stream:
        stream.read(5)
        raise KeyError
    with pytest.raises(AssertionError, match="not read to its end"):
        source.sha256  # noqa: B018
    assert content(source) == TEXT * 1_000
    assert len(source.sha256) == 64


def test_quoted_lines_are_short_and_printable():
    assert quoted("a\tb\0\r\n") == r"'a\tb\x00'"
    assert quoted("x" * 41) == repr("x" * 40) + "..."


def _written(tmp_path, stored: bytes):
    (tmp_path / "x").write_bytes(stored)
    return tmp_path / "x"
