"""The rows of a Parquet table, one in memory at a time as far as its row groups allow; before `tables`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dnabert_nemo.errors import ConfigError, DnabertError, FormatError
from dnabert_nemo.genome.source import Source
from dnabert_nemo.genome.table_rows import Row, columns_there

PARQUET_MAGIC = b"PAR1"


def parquet_rows(
    source: Source, sequence: str, required: Sequence[str], optional: Sequence[str]
) -> Iterator[Row]:
    """Yield the rows of a Parquet file.

    Raises:
        FormatError: it is damaged, packed or from a pipe, has no rows, or lacks a column or has one of a type
            that cannot be.
        ConfigError: pyarrow is not installed.
    """
    pa, pq = _pyarrow()
    path = source.path
    with source.open_at_random() as raw:
        if raw.read(len(PARQUET_MAGIC)) != PARQUET_MAGIC:
            raise FormatError(path, "a Parquet file that is packed once more: unpack it first (gunzip FILE)")
        with _arrow_errors(path, pa), _system_memory(pa):
            file = pq.ParquetFile(
                raw if "://" in str(path) else str(path),  # pyarrow's own reading takes less memory
                pre_buffer=False,
                buffer_size=1 << 20,
                page_checksum_verification=True,
            )
            schema = file.schema_arrow
        names = columns_there(path, schema.names, required, optional)
        texts = {name: _text_of(path, schema.field(name), pa, name == sequence) for name in names}
        num_rows = _num_rows(path, file.metadata)
        batches = file.iter_batches(batch_size=1, columns=names, use_threads=False)
        for number in range(1, num_rows + 1):
            with _arrow_errors(path, pa, number):
                batch = next(batches)
                cells = {name: text(batch.column(name)) for name, text in texts.items()}
                letters = cells.pop(sequence)
            del batch
            row = Row(path, "row", number, cells, memoryview(letters))
            del cells, letters
            for name, cell in row.cells.items():
                if cell is None:
                    raise row.error(f"nothing in column {name!r}: fill it in every row")
            yield row
            del row  # before the next one is read: it may be a chromosome


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(
            "Parquet needs pyarrow, which is not installed: pip install dnabert_nemo[tables]"
        ) from None
    return pyarrow, pyarrow.parquet


def _num_rows(path: str | Path, metadata: Any) -> int:
    """Return the number of rows, which stands in the footer twice: in all, and for each row group."""
    in_groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    if metadata.num_rows != sum(in_groups) or min(in_groups, default=0) < 0:
        problem = f"it states {metadata.num_rows} rows and row groups of {sum(in_groups)}"
        raise FormatError(path, f"the Parquet data are damaged ({problem}): copy the file again")
    if not metadata.num_rows:
        raise FormatError(path, "no row in it: give a table that has some")
    return sum(in_groups)


def _text_of(path: str | Path, field: Any, pa: Any, is_sequence: bool) -> Callable[[Any], Any]:
    """Return what takes the one cell of a column [1]: letters as a buffer, any other as text or a number."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    is_text = any(
        (getattr(pa.types, f"is_{name}")(kind))
        for name in ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
    )
    if not is_text and (is_sequence or not pa.types.is_integer(kind)):
        wanted = "text" if is_sequence else "text or whole numbers"
        problem = f"column {field.name!r} holds {field.type}, where {wanted} should be"
        raise FormatError(path, f"{problem}: name another column in the config")

    def cell(column: Any) -> Any:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        value = column[0]
        if is_sequence:
            return value.as_buffer() or b""
        plain = value.as_py()
        return plain.decode() if isinstance(plain, bytes) else plain

    return cell


@contextmanager
def _system_memory(pa: Any) -> Iterator[None]:
    """Let what is opened take its memory from the system: pyarrow's own pool keeps a quarter more of it."""
    usual = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(usual)


@contextmanager
def _arrow_errors(path: str | Path, pa: Any, row: int = 0) -> Iterator[None]:
    try:
        yield
    except DnabertError:
        raise
    except UnicodeDecodeError:
        raise FormatError(path, f"row {row}: an id or group is not UTF-8 text: write it so") from None
    except pa.ArrowMemoryError:
        problem = "a row group of it takes more memory than there is: write it with one row a row group"
        raise FormatError(path, problem) from None
    except MemoryError:
        raise
    except Exception as error:  # pyarrow has errors of many kinds for data that are no good
        reason = str(error).strip().split("\n")[0]
        raise FormatError(path, f"the Parquet data are damaged ({reason}): copy the file again") from None
