"""Which files a reference is made of, from the config, and the list of those fetched; `fetch` brings them."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.checksums import Checksum, Kind
from dnabert_nemo.genome.part_file import ORIGIN, PART

FETCHED = "references.tsv"

_KINDS: tuple[Kind, ...] = ("sha256", "md5", "sum")
_ENTRY = ("url", "name", "size", *_KINDS, "checksums")
_NAME = re.compile(r"[\w+=@-][\w.+=@-]*")


@dataclass(frozen=True)
class Reference:
    """One file to fetch."""

    key: str  # in the config
    url: str
    name: str  # of the file, in the output folder
    size: int | None = None  # bytes
    checksum: Checksum | None = None
    checksums: str | None = None  # the address of a list that has its checksum

    @property
    def name_there(self) -> str:
        """The name of the file where it is fetched from, and in the list."""
        return _last_part(self.url)


def references_of(
    files: Mapping[str, Mapping[str, Any]], only: Sequence[str] | None = None
) -> list[Reference]:
    """Take the files of a reference from the config `references.files`: {KEY: {url, ...}}.

    Args:
        only: the keys of those to take; None for all.

    Raises:
        ConfigError: naming the key, for an entry that cannot be; for two files of one name.
    """
    if not files:
        raise ConfigError("references.files is empty: pass references=grch38, or files of your own")
    if missing := sorted(set(only or ()) - set(files)):
        raise ConfigError(f"only={missing}: no such file of the reference, take from {list(files)}")
    chosen = [_reference(key, files[key]) for key in files if only is None or key in only]
    if not chosen:
        raise ConfigError("only=[]: nothing to fetch: name files, or leave it null for all")
    key_of: dict[str, str] = {}
    for reference in chosen:
        if (other := key_of.setdefault(reference.name, reference.key)) != reference.key:
            where = f"references.files.{reference.key}"
            problem = f"its file is called {reference.name}, as that of {other}"
            raise ConfigError(f"{where}: {problem}: pass +{where}.name=ANOTHER")
    return chosen


def _reference(key: str, entry: Any) -> Reference:
    where = f"references.files.{key}"
    if not isinstance(entry, Mapping) or "url" not in entry:
        raise ConfigError(f"{where}: no address: write {key}: {{url: https://...}}")
    if unknown := sorted(set(map(str, entry)) - set(_ENTRY)):
        raise ConfigError(f"{where}.{unknown[0]}: no such key: take one of {', '.join(_ENTRY)}")
    url = _address(f"{where}.url", str(entry["url"]))
    name = entry.get("name")
    if name is None:
        name = _last_part(url)
    name = str(name)
    if not _NAME.fullmatch(name) or name == FETCHED or name.endswith((PART, ORIGIN)):
        raise ConfigError(
            f"{where}: {name!r} cannot be the name of the file: give another, name: genome.fa.gz"
        )
    size = entry.get("size")
    if size is not None and (type(size) is not int or size < 1):
        raise ConfigError(f"{where}.size={size}: give the number of bytes, or leave it out")
    given = [kind for kind in _KINDS if entry.get(kind) is not None]
    if len(given) > 1:
        raise ConfigError(f"{where}: both {given[0]} and {given[1]}: give one checksum, {given[0]}")
    try:
        checksum = Checksum(given[0], str(entry[given[0]])) if given else None
    except ValueError as error:
        raise ConfigError(f"{where}.{given[0]}: {error}") from None
    checksums = entry.get("checksums")
    if checksums is not None:  # an address of its own, or the name of a file beside
        checksums = _address(f"{where}.checksums", urljoin(url, str(checksums)))
    return Reference(key, url, name, size, checksum, checksums)


def _last_part(url: str) -> str:
    return unquote(urlsplit(url).path.rsplit("/", 1)[-1])


def _address(where: str, url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{where}={url}: cannot be fetched: give an address that begins with https://")
    return url


@dataclass(frozen=True)
class Fetched:
    """A line of `references.tsv`: a file that was fetched and verified, which every later run holds it to."""

    name: str
    url: str
    bytes: int
    sha256: str


def read_fetched(folder: Path) -> dict[str, Fetched]:
    """Read what was fetched into a folder, by name; nothing where no file says so.

    Raises:
        FormatError: with the line, if `references.tsv` is not as it was written.
    """
    path = folder / FETCHED
    found: dict[str, Fetched] = {}
    try:
        rows = list(csv.reader(path.read_text().splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    except FileNotFoundError:
        return found
    except (OSError, ValueError, csv.Error) as error:
        raise FormatError(path, f"cannot be read ({error}): remove it, and all is verified anew") from None
    columns = [field.name for field in fields(Fetched)]
    for line, row in enumerate(rows, start=1):
        is_right = row == columns if line == 1 else len(row) == len(columns) and row[2].isdecimal()
        if not is_right or (line > 1 and not re.fullmatch("[0-9a-f]{64}", row[3])):
            problem = "not as it was written: remove the file, and all is verified anew"
            raise FormatError(path, problem, line=line)
        if line > 1:
            found[row[0]] = Fetched(row[0], row[1], int(row[2]), row[3])
    return found


def write_fetched(folder: Path, fetched: Mapping[str, Fetched]) -> None:
    """Write what was fetched into a folder; the list is replaced as a whole.

    Raises:
        OSError: it cannot be written.
    """
    unfinished = folder / f".{FETCHED}.unfinished"
    with unfinished.open("w", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
        table.writerow(field.name for field in fields(Fetched))
        table.writerows(astuple(fetched[name]) for name in sorted(fetched))
    os.replace(unfinished, folder / FETCHED)
