"""FASTQ in, one read or pair at a time, trimmed and filtered: where `shards` gets the reads of a sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple, cast

from dnaio import FastqFormatError, FastqReader, SequenceRecord

from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.read_filter import KEPT, PHRED_BASE, ReadFilter
from dnabert_nemo.genome.read_report import ReadTally
from dnabert_nemo.genome.source import Source, quoted

_BASES = b"ACGTacgt"
_NUCLEOTIDES = b"ACGTURYSWKMBDHVNacgturyswkmbdhvn"  # IUPAC, ambiguity codes included
_QUALITIES = bytes(range(33, 127))
_PHRED_64 = bytes(range(64, 106))  # '@' to 'i': all that Phred+64 writes
_PHRED_33 = bytes(range(33, 75))  # '!' to 'J': all that Illumina's Phred+33 writes
_READS_TO_JUDGE = 1000  # reads after which the encoding of the qualities is judged
_TOO_FEW_TO_JUDGE = 100

_Record = tuple[SequenceRecord, bytes, bytes, bytes]  # and its letters, its qualities, its unknown letters


class Read(NamedTuple):
    """One read that was kept."""

    name: str  # the first word of the header
    letters: bytes  # what trimming left, case as in the file, at least one
    file: str  # the one it came from, as the sample names it


@dataclass(frozen=True)
class ReadSample:
    """The FASTQ files of one sample; several files are its lanes, and are read one after the other.

    Raises:
        ConfigError: if there is no file, or not as many files of mates as of first reads.
    """

    name: str
    files: tuple[str, ...]  # paths, URLs or "-", see `Source`
    mates: tuple[str, ...] = ()  # the second reads, in the order of `files`; none for single reads
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.files:
            raise ConfigError(f"sample {self.name!r} has no file: name its FASTQ files")
        if self.mates and len(self.mates) != len(self.files):
            raise ConfigError(
                f"sample {self.name!r} has {len(self.files)} files of first reads and {len(self.mates)} of "
                "mates: name one of mates for each of first reads"
            )

    def tally(self) -> ReadTally:
        """Return an empty tally for this sample."""
        return ReadTally(self.name, is_paired=bool(self.mates), labels=dict(self.labels))


def kept_reads(sample: ReadSample, read_filter: ReadFilter, tally: ReadTally) -> Iterator[tuple[Read, ...]]:
    """Yield what the filter keeps of a sample, in file order: (read,) or (read, mate), trimmed.

    A pair is kept or dropped together. `tally` counts along; it holds each file's sha256 once that is read.

    Raises:
        FormatError: if a file is missing, empty, damaged, not FASTQ with Phred+33 qualities, or holds a
            letter that is no IUPAC nucleotide; if mates differ in number or name.
    """
    for lane, file in enumerate(sample.files):
        if sample.mates:
            mate_file = sample.mates[lane]
            yield from _filtered(_pairs(file, mate_file, tally), (file, mate_file), read_filter, tally)
        else:
            singles = ((record,) for record in _records(file, tally))
            yield from _filtered(singles, (file,), read_filter, tally)


def _filtered(
    units: Iterator[tuple[_Record, ...]], files: tuple[str, ...], read_filter: ReadFilter, tally: ReadTally
) -> Iterator[tuple[Read, ...]]:
    trimmers = [read_filter.trimmer(mate) for mate in range(len(files))]
    for unit in units:
        reads: list[Read] = []
        verdict = KEPT
        num_bases = num_unknown = phred = 0
        for (record, letters, qualities, unknown), trim, file in zip(unit, trimmers, files, strict=True):
            whole = bases = len(letters)
            score = sum(qualities) - PHRED_BASE * whole
            tally.num_bases_in += whole
            tally.phred_in += score
            if trim is not None:
                start, stop, has_adapter = trim(record)
                tally.num_adapters += has_adapter
                bases = stop - start
                if bases < whole:
                    cut = sum(qualities[:start]) + sum(qualities[stop:])  # shorter than what is left
                    score -= cut - PHRED_BASE * (whole - bases)
                    letters = letters[start:stop]
                    unknown = unknown and letters.translate(None, _BASES)
            verdict = min(verdict, read_filter.verdict(bases, score, len(unknown)))
            num_bases += bases
            phred += score
            num_unknown += len(unknown)
            reads.append(Read(record.id, letters, file))
        tally.count(verdict, num_bases, phred, num_unknown)
        if verdict == KEPT:
            yield tuple(reads)


def _pairs(file: str, mate_file: str, tally: ReadTally) -> Iterator[tuple[_Record, _Record]]:
    """Read two files in step."""
    remedy = "give the two files of one run, or pair them again (seqkit pair, repair.sh)"
    mates = _records(mate_file, tally)
    number = 0
    for number, read in enumerate(_records(file, tally), start=1):
        mate = next(mates, None)
        if mate is None:
            problem = f"ends after {number - 1:,} reads, but {file} goes on: {remedy}"
            raise FormatError(mate_file, problem, line=4 * (number - 1))
        if not read[0].is_mate(mate[0]):
            names = f"{quoted(mate[0].id)}, but in {file} it is {quoted(read[0].id)}"
            raise FormatError(mate_file, f"read {number:,} is {names}: {remedy}", line=4 * number - 3)
        yield read, mate
    if next(mates, None) is not None:
        problem = f"ends after {number:,} reads, but {mate_file} goes on: {remedy}"
        raise FormatError(file, problem, line=4 * number)


def _records(file: str, tally: ReadTally) -> Iterator[_Record]:
    """Yield the checked reads of one file; what is wrong is told with its line: each read has four."""
    source = Source(file)
    number = 0
    may_be_phred_64, is_beyond_33 = True, False
    with source.open() as stream:
        text = _FastqText(file, stream)
        try:
            for number, record in enumerate(FastqReader(cast(BinaryIO, text)), start=1):
                letters, qualities = record.sequence.encode(), record.qualities_as_bytes()
                unknown = letters.translate(None, _BASES)
                if (
                    (unknown and unknown.translate(None, _NUCLEOTIDES))
                    or qualities.translate(None, _QUALITIES)
                    or not record.id
                ):
                    raise _bad_record(file, record, 4 * number)
                if may_be_phred_64 and number <= _READS_TO_JUDGE:
                    may_be_phred_64 = not qualities.translate(None, _PHRED_64)
                    is_beyond_33 = is_beyond_33 or bool(qualities.translate(None, _PHRED_33))
                    if number == _READS_TO_JUDGE and may_be_phred_64 and is_beyond_33:
                        raise _phred_64(file)
                yield record, letters, qualities, unknown
        except FastqFormatError as error:
            raise _not_fastq(file, error, number) from None
    if number == 0:
        raise FormatError(file, "empty, no read in it: give a FASTQ file, or leave out the sample")
    if _TOO_FEW_TO_JUDGE <= number < _READS_TO_JUDGE and may_be_phred_64 and is_beyond_33:
        raise _phred_64(file)
    tally.sha256[file] = source.sha256


def _bad_record(file: str, record: SequenceRecord, last_line: int) -> FormatError:
    if not record.id:
        return FormatError(file, "a read without a name: write '@NAME'", line=last_line - 3)
    if wrong := record.sequence.encode().translate(None, _NUCLEOTIDES):
        problem = (
            f"read {quoted(record.id)} holds {chr(wrong[0])!r}, no nucleotide: "
            "use ACGT, N or another IUPAC letter"
        )
        return FormatError(file, problem, line=last_line - 2)
    wrong = record.qualities_as_bytes().translate(None, _QUALITIES)
    problem = (
        f"read {quoted(record.id)} has the quality {chr(wrong[0])!r}, but Phred+33 goes from '!' to '~': "
        "copy the file again"
    )
    return FormatError(file, problem, line=last_line)


def _phred_64(file: str) -> FormatError:
    return FormatError(
        file,
        "the qualities are written as Phred+64, as Illumina did before 2011: convert the file to Phred+33 "
        "(seqtk seq -VQ64 IN > OUT)",
    )


def _not_fastq(file: str, error: FastqFormatError, num_good: int) -> FormatError:
    found = ascii(error.message.splitlines()[0][:120])[1:-1].rstrip(".")
    problem = (
        f"not FASTQ at read {num_good + 1:,}: {found}: a read is four lines, '@NAME', its letters, '+' "
        "and as many qualities, with no blank line between or after; copy the file again if it is cut off"
    )
    return FormatError(file, problem, line=None if error.line is None else error.line + 1)


class _FastqText:
    """The bytes dnaio reads, refused early where they are no FASTQ: of one line, it would hold the file."""

    def __init__(self, file: str, stream: BinaryIO) -> None:
        self._file, self._stream = file, stream
        self._line = 0  # of the byte that comes next; 0 before the first

    def read(self, size: int) -> bytes:
        chunk = self._stream.read(size)
        if self._line == 0 and chunk:
            self._line = 1
            if not chunk.startswith(b"@"):
                begins = quoted(chunk[:200].decode("latin-1").split("\n")[0])
                problem = f"not FASTQ: it begins with {begins}, not '@NAME': FASTA is no input of reads"
                raise FormatError(self._file, problem, line=1)
        if not chunk.isascii():
            line = self._line + chunk[: _first_beyond_ascii(chunk)].count(b"\n")
            raise FormatError(
                self._file, "not FASTQ: this line is not plain ASCII text: copy the file again", line=line
            )
        self._line += chunk.count(b"\n")
        return chunk


def _first_beyond_ascii(chunk: bytes) -> int:
    try:
        chunk.decode("ascii")
    except UnicodeDecodeError as error:
        return error.start
    raise AssertionError("all of it is ASCII")
