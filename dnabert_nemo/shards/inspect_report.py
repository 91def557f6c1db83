"""An inspection as lines to read, or as JSON; after `inspect`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from dnabert_nemo.shards.inspect import Inspection
from dnabert_nemo.shards.manifest import ContigEntry

_BAR = 40  # characters of the longest bar of a histogram
_FEW = 20  # contigs that are listed unless all are asked for


def report_lines(found: Inspection, *, all_contigs: bool = False) -> Iterator[str]:
    """Yield what a set holds: totals, components, contigs, bases, lengths, keys and checksums."""
    manifest = found.manifest
    num_bytes = sum(shard.num_bytes for shard in manifest.shards)
    yield f"{found.folder}: {manifest.split}, k={manifest.k}, shard format {manifest.format_version}"
    yield (
        f"{manifest.num_bases:,} bases, {manifest.num_tokens:,} tokens, {manifest.num_stretches:,} stretches "
        f"in {manifest.num_records:,} records, {len(manifest.shards):,} shards of {num_bytes:,} bytes"
    )
    yield (
        f"seed {manifest.seed}, non_acgt: {manifest.non_acgt}, stretches of {manifest.min_stretch} bases and "
        f"more, records of up to {manifest.block_bases:,}"
    )
    yield ""
    yield from _table(
        ["component", "kind", "weight", "of tokens", "bases", "tokens", "stretches", "labels"],
        [
            [
                one.name,
                one.kind,
                f"{one.weight:.4f}",
                f"{one.num_tokens / manifest.num_tokens:.4f}",
                f"{one.num_bases:,}",
                f"{one.num_tokens:,}",
                f"{one.num_stretches:,}",
                " ".join(f"{key}={value}" for key, value in one.labels.items()),
            ]
            for one in manifest.components
        ],
    )
    yield ""
    contigs = sorted(manifest.contigs, key=lambda contig: -contig.num_bases)
    shown = contigs if all_contigs else contigs[:_FEW]
    yield from _table(
        ["contig", "component", "length", "in the set", "stretches", "not A C G T", "soft-masked"],
        [_contig_cells(found, contig) for contig in shown],
    )
    if len(shown) < len(contigs):
        yield f"... and {len(contigs) - len(shown):,} smaller ones (--all lists them)"
    yield ""
    yield "bases: " + ", ".join(
        f"{base} {count:,} ({_share(count, manifest.num_bases)})"
        for base, count in sorted(manifest.base_counts.items())
    )
    soft_masked = manifest.num_soft_masked
    yield f"soft-masked: {soft_masked:,} ({_share(soft_masked, manifest.num_bases)})"
    length = sum(contig.length for contig in manifest.contigs)
    as_unk = manifest.num_bases - sum(manifest.base_counts.values())
    yield (
        f"not A, C, G, T: {manifest.num_not_bases:,} letters of the contigs "
        f"({_share(manifest.num_not_bases, length)}), {as_unk:,} of them in the set as UNK"
    )
    excluded = sum(contig.num_excluded_bases for contig in manifest.contigs)
    yield (
        f"left out: {manifest.num_short_bases:,} bases in {manifest.num_short_stretches:,} short stretches, "
        f"{excluded:,} outside the regions asked for"
    )
    yield ""
    yield "stretches by their bases:"
    most = max(found.stretch_lengths.values())
    for low, count in found.stretch_lengths.items():
        yield f"{low:>8,} .. {2 * low - 1:<8,} {count:>12,}  {'#' * -(-_BAR * count // most)}"
    yield ""
    yield "duplicate keys: " + (
        "; ".join(f"{key} in {', '.join(names)}" for key, names in found.duplicate_keys.items()) or "none"
    )
    yield f"checksums: {len(manifest.shards)} shards and their indexes are as manifest.json says"


def as_json(found: Inspection) -> dict[str, Any]:
    """Return the whole inspection as plain data."""
    stretches = found.contig_stretches
    content = asdict(found.manifest)
    for contig in content["contigs"]:
        contig["num_stretches"] = stretches.get((contig["component"], contig["name"]), 0)
    content["stretch_lengths"] = {str(low): count for low, count in found.stretch_lengths.items()}
    content["duplicate_keys"] = {key: list(names) for key, names in found.duplicate_keys.items()}
    return content


def _contig_cells(found: Inspection, contig: ContigEntry) -> list[str]:
    return [
        contig.name,
        contig.component,
        f"{contig.length:,}",
        f"{contig.num_bases:,}",
        f"{found.contig_stretches.get((contig.component, contig.name), 0):,}",
        _share(contig.num_not_bases, contig.length),
        _share(contig.num_soft_masked, contig.length),
    ]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "-"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
