"""What a .nemo file holds, as plain data and as lines to read: config, parameters, vocabulary, provenance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dnabert_nemo.kmer.vocabulary import SPECIAL_TOKENS
from dnabert_nemo.megatron.tensor_shapes import part_of
from dnabert_nemo.model import nemo_file


def inspect(path: Path) -> dict[str, Any]:
    """Read a whole .nemo file, as `nemo_file.read` does and with its errors, and describe it."""
    file = nemo_file.read(path)
    parts: Counter[str] = Counter()
    for name, tensor in file.weights.items():
        parts[part_of(name.removeprefix("bert."))] += tensor.numel()
    vocabulary = file.vocabulary
    return {
        "file": str(path),
        "num_bytes": path.stat().st_size,
        "config": {key: value for key, value in file.config.items() if key != "provenance"},
        "parameters": {"total": parts.total(), "parts": dict(parts)},
        "dtypes": sorted({str(each.dtype).removeprefix("torch.") for each in file.weights.values()}),
        "vocabulary": {
            "k": len(vocabulary.tokens[-1]),
            "size": len(vocabulary),
            "padded_size": vocabulary.padded_size(),
            "specials": {token: number for number, token in enumerate(SPECIAL_TOKENS)},
            "sha256": vocabulary.sha256,
        },
        "provenance": file.provenance,
    }


def report_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield an inspection as lines to read."""
    config, vocabulary, parameters = found["config"], found["vocabulary"], found["parameters"]
    yield f"{found['file']}: {config['target'].rsplit('.', 1)[-1]}, {found['num_bytes']:,} bytes"
    yield ""
    yield "config:"
    yield from _tree(config)
    yield ""
    yield f"parameters: {parameters['total']:,}, in {', '.join(found['dtypes'])}"
    width = max(map(len, parameters["parts"]))
    for part, count in parameters["parts"].items():
        yield f"  {part.ljust(width)}  {count:>15,}"
    yield ""
    specials = " ".join(f"{token}={number}" for token, number in vocabulary["specials"].items())
    yield (
        f"vocabulary: k={vocabulary['k']}, {vocabulary['size']:,} tokens padded to "
        f"{vocabulary['padded_size']:,} rows, {specials}"
    )
    yield f"  sha256 {vocabulary['sha256']}"
    yield ""
    if found["provenance"]:
        yield "provenance:"
        yield from _tree(found["provenance"])
    else:
        yield "provenance: not in this file, which was written before it was kept"


def _tree(node: Mapping[str, Any], depth: int = 1) -> Iterator[str]:
    indent = "  " * depth
    for key, value in node.items():
        if isinstance(value, dict):
            yield f"{indent}{_shown(key)}:"
            yield from _tree(value, depth + 1)
        elif isinstance(value, list):
            yield f"{indent}{_shown(key)}: {', '.join(map(_shown, value))}"
        else:
            yield f"{indent}{_shown(key)}: {'null' if value is None else _shown(value)}"


def _shown(value: object) -> str:
    """Say a value on one line, and nothing of it to the terminal."""
    text = str(value)
    return text if text.isprintable() else ascii(text)
