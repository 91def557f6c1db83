"""Fetch the files of a reference genome, each verified and whole or not there; `shards` reads them."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from dnabert_nemo.errors import ConfigError, DnabertError, FetchError
from dnabert_nemo.genome.checksums import Checksum, checksums_of, read_checksums
from dnabert_nemo.genome.download import DownloadSettings, download, fetch_text
from dnabert_nemo.genome.part_file import part_of, remove_part
from dnabert_nemo.genome.references import FETCHED, Fetched, Reference, read_fetched, write_fetched

log = logging.getLogger(__name__)


def fetch_references(
    references: Sequence[Reference], output_dir: Path, settings: DownloadSettings | None = None
) -> list[Path]:
    """Fetch files into a folder, several at a time, and return their paths.

    A file is verified by the checksum in the config or in its publisher's list, and by `references.tsv`,
    which is written here and has the sha256 of all that was fetched before. A file that is there is verified,
    not fetched. What was left of an interrupted run is gone on with. When a file cannot be had, the others
    still are.

    Raises:
        FetchError: a file could not be fetched, or is not what it should be.
        FormatError: `references.tsv` is damaged.
        ConfigError: the folder cannot be made.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror
        raise ConfigError(
            f"output_dir={output_dir}: cannot be made ({reason}): pass another output_dir"
        ) from None
    folder = _Folder(output_dir, settings or DownloadSettings())
    problems: list[DnabertError] = []
    with ThreadPoolExecutor(folder.settings.num_workers) as pool:
        try:
            folder.fetch_lists(references)
            futures = [pool.submit(folder.have, reference) for reference in references]
            for future in as_completed(futures):
                try:
                    future.result()
                except DnabertError as problem:
                    problems.append(problem)
        except BaseException:
            folder.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    if len(problems) == 1:
        raise problems[0]
    if problems:
        for each in problems:
            log.warning("%s", each)
        raise FetchError(
            f"{len(problems)} of {len(references)} files are not there; the first: {problems[0]}"
        )
    return [output_dir / reference.name for reference in references]


@dataclass(frozen=True)
class _Expected:
    checksum: Checksum
    by: str  # who says so


class _Folder:
    """The folder being filled: what is known of its files, shared by the threads."""

    def __init__(self, path: Path, settings: DownloadSettings) -> None:
        self.path, self.settings = path, settings
        self.stop = threading.Event()
        self._fetched = read_fetched(path)
        self._fetched_lock = threading.Lock()
        self._lists: dict[str, dict[str, Checksum] | DnabertError] = {}

    def fetch_lists(self, references: Sequence[Reference]) -> None:
        """Fetch the lists of checksums that will be needed, once each; an error waits for who needs it."""
        for reference in references:
            address = reference.checksums
            is_known = (self.path / reference.name).exists() and self._earlier(reference)
            if address is None or address in self._lists or reference.checksum is not None or is_known:
                continue
            try:
                text = fetch_text(address, self.settings, self.stop)
                self._lists[address] = read_checksums(text, address)
            except DnabertError as error:
                self._lists[address] = error

    def have(self, reference: Reference) -> None:
        """Verify a file, which is fetched before if it is not there.

        Raises:
            FetchError: it could not be, or is not what it should be.
        """
        path = self.path / reference.name
        try:
            if path.exists():
                self._verify_there(reference, path)
            else:
                self._fetch(reference, path)
        except OSError as error:
            problem = f"cannot be read or written ({error.strerror or error})"
            raise FetchError(f"{path}: {problem}: check the disk and the rights to {self.path}") from None

    def _verify_there(self, reference: Reference, path: Path) -> None:
        expected = self._expected(reference, is_there=True)
        if not expected:
            remedy = f"move it away, or give references.files.{reference.key}.sha256"
            raise FetchError(f"{path}: there already, and nothing tells whether it is right: {remedy}")
        found, problem = _measured(path, reference, expected)
        if problem:
            raise FetchError(f"{path}: {problem}: remove it to have it fetched again")
        if not self._earlier(reference):
            self._remember(found)
        log.info("%s: there already, verified", reference.name)

    def _fetch(self, reference: Reference, path: Path) -> None:
        expected = self._expected(reference, is_there=False)
        part = part_of(path)
        download(reference.url, part, self.settings, self.stop, reference.size)
        found, problem = _measured(part, reference, expected)
        if problem:
            remove_part(path)
            if self._earlier(reference):
                remedy = f"it has changed since; if that is right, remove {FETCHED}"
            else:
                remedy = "removed what came; run this again, or correct the config"
            raise FetchError(f"{reference.url}: {problem}: {remedy}")
        os.replace(part, path)
        remove_part(path)
        self._remember(found)
        kinds = " and ".join(each.checksum.kind for each in expected)
        how = (
            f"verified by its {kinds}" if kinds else f"no checksum of it is known, its sha256 is in {FETCHED}"
        )
        log.info("%s: %s bytes, %s", reference.name, f"{found.bytes:,}", how)

    def _expected(self, reference: Reference, is_there: bool) -> list[_Expected]:
        """Return the checksums that the file must have."""
        expected = []
        earlier = self._earlier(reference)
        if earlier:
            expected.append(_Expected(Checksum("sha256", earlier.sha256), FETCHED))
        if reference.checksum is not None:
            expected.append(_Expected(reference.checksum, "the config"))
        elif reference.checksums is not None and not (earlier and is_there):
            known = self._lists[reference.checksums]
            if isinstance(known, DnabertError):
                raise FetchError(f"{reference.name} cannot be verified: {known}")
            if reference.name_there not in known:
                remedy = f"correct references.files.{reference.key}.checksums, or give its sha256 instead"
                raise FetchError(f"{reference.checksums}: lists no {reference.name_there}: {remedy}")
            expected.append(_Expected(known[reference.name_there], reference.checksums))
        return expected

    def _earlier(self, reference: Reference) -> Fetched | None:
        """Return what was fetched from this address earlier; from another one, it may be another file."""
        earlier = self._fetched.get(reference.name)
        return earlier if earlier and earlier.url == reference.url else None

    def _remember(self, fetched: Fetched) -> None:
        with self._fetched_lock:
            # another run may have fetched other files into this folder meanwhile
            self._fetched = {**read_fetched(self.path), **self._fetched, fetched.name: fetched}
            write_fetched(self.path, self._fetched)


def _measured(path: Path, reference: Reference, expected: Sequence[_Expected]) -> tuple[Fetched, str]:
    """Return what a file is, and what is wrong with it; nothing if all is right."""
    found = checksums_of(path, {"sha256", *(each.checksum.kind for each in expected)})
    num_bytes = path.stat().st_size
    fetched = Fetched(reference.name, reference.url, num_bytes, found["sha256"])
    if reference.size is not None and num_bytes != reference.size:
        return fetched, f"{num_bytes:,} bytes, where the config says {reference.size:,}"
    for each in expected:
        kind, value = each.checksum.kind, each.checksum.value
        if found[kind] != value:
            return fetched, f"{kind} is {found[kind]}, where {each.by} says {value}"
    return fetched, ""
