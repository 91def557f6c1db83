"""A corpus as its config writes it, to the inputs `corpus` defines; the commands that read genomes use it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome.bed import read_bed
from dnabert_nemo.genome.fastq import ReadSample
from dnabert_nemo.genome.read_filter import ReadFilter
from dnabert_nemo.genome.sample_sheet import SheetColumns, read_sample_sheet
from dnabert_nemo.genome.tables import TableColumns
from dnabert_nemo.shards.corpus import DEFAULT_NAME, Assembly, Corpus, Input, Mixture, Reads, Table
from dnabert_nemo.shards.stretches import Regions


def corpus_of(input_keys: Mapping[str, Any], corpus: Mapping[str, Any], mixture: Mapping[str, Any]) -> Corpus:
    """Build a corpus from the sections `input`, `corpus` and `mixture` of a config, as plain dicts.

    Raises:
        ConfigError: a key is not known, is missing or has a value that cannot be; or no input is named.
        FormatError: a BED file or a sample sheet cannot be read.
    """
    inputs: list[Input] = []
    files = _texts(input_keys["fasta"], "input.fasta")
    if files and corpus:
        raise ConfigError("input.fasta and corpus exclude each other: name the files in one of them")
    for key in ("include", "exclude"):
        if corpus and input_keys[key] is not None:
            raise ConfigError(
                f"input.{key} is for input.fasta: with a corpus give corpus.NAME.{key}={input_keys[key]}"
            )
    if files:
        given = {"fasta": files, "include": input_keys["include"], "exclude": input_keys["exclude"]}
        inputs.append(_assembly(DEFAULT_NAME, given, "input"))
    for name, section in corpus.items():
        inputs.append(_input(str(name), section, f"corpus.{name}"))
    return Corpus(tuple(inputs), _mixture(mixture))


def _mixture(section: Mapping[str, Any]) -> Mixture:
    proportions = section["proportions"]
    if isinstance(proportions, Mapping):
        proportions = {str(name): share for name, share in proportions.items()}
    return Mixture(section["temperature"], proportions)


def _input(name: str, section: Any, key: str) -> Input:
    kinds: dict[str, Callable[[str, Mapping[str, Any], str], Input]] = {
        "fasta": _assembly,
        "table": _table,
        "fastq": _reads,
    }
    if not isinstance(section, Mapping):
        raise ConfigError(f"{key}={section}: give a mapping with one of {', '.join(kinds)}")
    present = [kind for kind in kinds if section.get(kind) is not None]
    if len(present) != 1:
        raise ConfigError(f"{key} has {' and '.join(present) or 'no input'}: give one of {', '.join(kinds)}")
    return kinds[present[0]](name, section, key)


def _assembly(name: str, section: Mapping[str, Any], key: str) -> Assembly:
    _check_keys(section, {"fasta", "names", "include", "exclude"}, key)
    names: Any = section.get("names") or "first_word"
    if names not in ("first_word", "header"):
        raise ConfigError(f"{key}.names={names} is not known: choose first_word or header")
    return Assembly(
        name,
        _texts(section["fasta"], f"{key}.fasta"),
        names,
        _regions(section.get("include")),
        _regions(section.get("exclude")),
    )


def _table(name: str, section: Mapping[str, Any], key: str) -> Table:
    _check_keys(section, {"table", "columns"}, key)
    columns = _built(TableColumns, section.get("columns"), f"{key}.columns")
    return Table(name, _texts(section["table"], f"{key}.table"), columns)


def _reads(name: str, section: Mapping[str, Any], key: str) -> Reads:
    _check_keys(section, {"fastq", "filter", "reads_per_sample", "equal_portions"}, key)
    equal = section.get("equal_portions", True)
    if not isinstance(equal, bool):
        raise ConfigError(f"{key}.equal_portions={equal}: give true or false")
    count = section.get("reads_per_sample")
    if count is not None and (type(count) is not int or count < 1):
        raise ConfigError(
            f"{key}.reads_per_sample={count}: give a whole number of at least 1, or null for all"
        )
    return Reads(
        name,
        _samples(section["fastq"], f"{key}.fastq"),
        _built(ReadFilter, section.get("filter"), f"{key}.filter"),
        count,
        equal,
    )


def _samples(section: Any, key: str) -> tuple[ReadSample, ...]:
    """Take `{sheet: FILE, ...}`, or `{samples: {NAME: FILE or {files, mates, labels}}}`."""
    if not isinstance(section, Mapping) or not section:
        raise ConfigError(f"{key}: give sheet: FILE, or samples: {{NAME: [reads.fq.gz]}}")
    _check_keys(section, {"sheet", "columns", "files_dir", "samples"}, key)
    if (section.get("sheet") is None) == (section.get("samples") is None):
        raise ConfigError(f"{key}: give either sheet: FILE or samples: {{NAME: [reads.fq.gz]}}")
    if section.get("sheet") is not None:
        columns = _built(SheetColumns, section.get("columns"), f"{key}.columns")
        return tuple(read_sample_sheet(str(section["sheet"]), columns, section.get("files_dir")))
    samples = []
    for name, given in section["samples"].items():
        one = given if isinstance(given, Mapping) else {"files": given}
        _check_keys(one, {"files", "mates", "labels"}, f"{key}.samples.{name}")
        labels = {str(label): str(value) for label, value in (one.get("labels") or {}).items()}
        where = f"{key}.samples.{name}"
        files, mates = _texts(one.get("files"), f"{where}.files"), _texts(one.get("mates"), f"{where}.mates")
        samples.append(ReadSample(str(name), files, mates, labels))
    return tuple(samples)


def _built(kind: Any, section: Any, key: str) -> Any:
    """Make a dataclass of settings from a section that holds some of its fields."""
    given = {} if section is None else section
    known = {field.name for field in fields(kind)}
    _check_keys(given, known, key)
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{key}.{error}") from None


def _regions(path: Any) -> Regions | None:
    return None if path is None else read_bed(str(path))


def _texts(value: Any, key: str) -> tuple[str, ...]:
    if value is None:
        return ()
    values = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(one, str) and one for one in values):
        raise ConfigError(f"{key}={value}: give a file, or a list of files")
    return tuple(values)


def _check_keys(section: Any, known: set[str], key: str) -> None:
    if not isinstance(section, Mapping):
        raise ConfigError(f"{key}={section}: give a mapping of {', '.join(sorted(known))}")
    unknown = sorted(str(name) for name in section.keys() - known)
    if unknown:
        raise ConfigError(f"{key}.{unknown[0]} is no key there: the keys are {', '.join(sorted(known))}")
