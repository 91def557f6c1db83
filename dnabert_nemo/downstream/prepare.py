"""FASTA and annotation to a splice data set, by one of `protocols`: examples/prepare_splice.py calls it.

Its windows are chosen among `candidates`. Donors and acceptors are equally many in every split, and so are
negatives, or the decoys of each.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream import splice_dataset
from dnabert_nemo.downstream.baselines import centre
from dnabert_nemo.downstream.candidates import Candidates, count_sites, draw_candidates
from dnabert_nemo.downstream.protocols import Protocol, protocol_of
from dnabert_nemo.downstream.splice_balance import ALONE, NEGATIVE, choose_balanced, distinct_windows
from dnabert_nemo.downstream.splice_dataset import LABELS, MANIFEST, SpliceSplit, write_split
from dnabert_nemo.downstream.splice_leaks import shares_in
from dnabert_nemo.downstream.splice_windows import Layout, read_layouts
from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.annotation import Transcript
from dnabert_nemo.genome.annotation_file import read_annotation
from dnabert_nemo.genome.splice_sites import introns
from dnabert_nemo.shards.folder import publish
from dnabert_nemo.shards.records import file_sha256
from dnabert_nemo.shards.splits import SPLITS, SplitSettings

_SITE_STREAM = 110  # of random numbers, and the eight after it

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpliceSettings:
    """What decides the windows of a data set, besides its input and split.

    Raises:
        ConfigError: a value is out of range, or there is no such protocol.
    """

    protocol: str = "card_by_contig"
    window: int = 512  # bases, even: the site's two stand in the middle
    per_class: int = 10_000  # donors, and acceptors, at most, over all splits
    seed: int = 1

    def __post_init__(self) -> None:
        protocol_of(self.protocol)
        for key, low in (("window", 2), ("per_class", 1), ("seed", 0)):
            value = getattr(self, key)
            if type(value) is not int or not low <= value < 2**32:
                raise ConfigError(f"{key}={value}: give a whole number from {low} to {2**32 - 1}")
        if self.window % 2:
            remedy = f"pass window={self.window + 1}"
            raise ConfigError(f"window={self.window} has no middle pair for the site: {remedy}")


def prepare_splice(
    fasta: Sequence[Path],
    annotation: Sequence[Path],
    output_dir: Path,
    settings: SpliceSettings,
    split: SplitSettings,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write train.csv, validation.csv, test.csv and manifest.json, all at once; returns the manifest.

    The same input, settings and split give the same bytes. Where a protocol's windows are unique, of equal
    sequences the first in input order stays, a site before a negative, and one that is both donor and
    acceptor goes. Holds one contig in memory, and the windows.

    Raises:
        ConfigError: `output_dir` exists, or the splits or the window do not fit the contigs.
        FormatError: an input file is missing or damaged, annotates other contigs, or has no introns.
    """
    for key, paths in (("fasta", fasta), ("annotation", annotation)):
        if not paths:
            raise ConfigError(f"input.{key}=[] names no file: pass input.{key}=[FILE]")
    protocol = protocol_of(settings.protocol)
    with publish(output_dir, splice_dataset.FILES, overwrite=overwrite) as folder:
        annotated = _read_annotation(annotation)
        layouts = read_layouts(fasta)
        found, dropped = draw_candidates(
            fasta, annotated, layouts, protocol, split, width=settings.window, seed=settings.seed
        )
        chosen = _chosen(found, protocol, settings, dropped)
        parts = _parts(found, chosen, layouts, protocol)
        _check_parts(parts, split, settings.per_class)
        for name, part in parts.items():
            write_split(folder / f"{name}.csv", part)
        manifest = {
            "format_version": splice_dataset.FORMAT_VERSION,
            **asdict(settings),
            "says": protocol.says,
            "split": asdict(split),
            "contigs": {name: _in_order(part.contigs, layouts) for name, part in parts.items()},
            "counts": {name: _by_label(Counter(part.labels.tolist())) for name, part in parts.items()},
            "motifs": {name: _motifs(part) for name, part in parts.items()},
            "annotated": _by_label(count_sites(annotated, protocol)),
            "dropped": {reason: _by_label(count) for reason, count in dropped.items()},
            "centre_shares": _centre_shares(list(parts.values())),
            "inputs": [{"name": path.name, "sha256": file_sha256(path)} for path in [*fasta, *annotation]],
            "files": {f"{name}.csv": file_sha256(folder / f"{name}.csv") for name in SPLITS},
        }
        content = json.dumps(manifest, indent=1) + "\n"
        (folder / MANIFEST).write_text(content, encoding="utf-8", newline="\n")
    _log_manifest(manifest)
    return manifest


def _read_annotation(paths: Sequence[Path]) -> dict[Path, list[Transcript]]:
    """Read the transcripts of each file; there must be an intron in one of them."""
    annotated = {path: read_annotation(path) for path in paths}
    transcripts = list(chain.from_iterable(annotated.values()))
    if not any(introns(transcript) for transcript in transcripts):
        others = f" nor in the {len(paths) - 1} files after it" if len(paths) > 1 else ""
        problem = f"no splice sites in it{others}: none of {len(transcripts):,} transcripts has an intron"
        raise FormatError(paths[0], f"{problem}; give the annotation of a genome whose genes are spliced")
    return annotated


def _chosen(
    found: Candidates, protocol: Protocol, settings: SpliceSettings, dropped: dict[str, Counter[int]]
) -> NDArray[np.int64]:
    """Choose the windows of the data set, and count the sites that are not chosen, by reason."""
    is_kept = np.ones(len(found.windows), dtype=bool)
    if protocol.is_unique:
        is_kept, duplicates = distinct_windows(found.labels, found.splits, found.windows)
        dropped |= duplicates
    if found.has_decoys:
        is_paired = (found.partner != ALONE) & is_kept[found.partner]
        dropped["without_decoy"] += _tally(found, np.flatnonzero(is_kept & ~is_paired))
        is_kept &= is_paired
    chosen = choose_balanced(
        found.labels, found.splits, is_kept, found.partner, settings.per_class, settings.seed, _SITE_STREAM
    )
    dropped["beyond_balance"] = _tally(found, np.flatnonzero(is_kept)) - _tally(found, chosen)
    if protocol.most_shared is not None:
        stays = _without_leaks(found, chosen, protocol.most_shared)
        dropped["shares_31_mers_with_training"] = _tally(found, chosen) - _tally(found, stays)
        chosen = stays
    for reason in ("beyond_balance", "without_decoy"):
        dropped[reason].pop(NEGATIVE, None)  # spare draws, nothing the input had
    order = [found.places[key][chosen] for key in ("label", "is_reverse", "start", "contig")]
    return chosen[np.lexsort(order)]


def _without_leaks(found: Candidates, chosen: NDArray[np.int64], most: float) -> NDArray[np.int64]:
    """Leave out windows of which splits before have more than `most` of the 31-mers, and partners."""
    splits = found.splits[chosen]
    is_seen = np.zeros(len(found.windows), dtype=bool)
    for split in range(1, len(SPLITS)):
        own = chosen[splits == split]
        before = [found.windows[i] for i in chosen[(splits < split)].tolist() if not is_seen[i]]
        is_seen[own] = shares_in([found.windows[i] for i in own.tolist()], before) > most
        partners = found.partner[own[is_seen[own]]]
        is_seen[partners[partners != ALONE]] = True
    return chosen[~is_seen[chosen]]


def _parts(
    found: Candidates, chosen: NDArray[np.int64], layouts: Sequence[Layout], protocol: Protocol
) -> dict[str, SpliceSplit]:
    parts = {}
    for place, name in enumerate(SPLITS):
        members = chosen[found.splits[chosen] == place]
        part, partner = found.places[members], found.partner[members]
        is_decoy = (part["label"] == NEGATIVE) & (partner != ALONE)
        against = np.where(is_decoy, found.labels[partner], NEGATIVE).tolist()
        is_reverse = part["is_reverse"] & protocol.is_stranded
        parts[name] = SpliceSplit(
            sequences=[found.windows[i] for i in members.tolist()],
            labels=part["label"],
            contigs=[layouts[number].name for number in part["contig"]],
            starts=part["start"],
            strands=["-" if along else "+" for along in is_reverse.tolist()],
            against=["" if label == NEGATIVE else LABELS[label] for label in against],
            motifs=[found.motifs[i] for i in members.tolist()],
            distances=found.distances[members],
        )
    return parts


def _check_parts(parts: Mapping[str, SpliceSplit], split: SplitSettings, per_class: int) -> None:
    for name, part in parts.items():
        named = None if name == "train" else getattr(split, name)
        is_wanted = split.fractions[name] > 0 if named is None else bool(named)
        if is_wanted and not len(part):
            problem = (
                f"per_class={per_class} is too few, or its contigs lack donors, acceptors or gene bodies"
            )
            raise ConfigError(f"no window is left for {name}: {problem}: name other contigs in split")


def _in_order(contigs: Sequence[str], layouts: Sequence[Layout]) -> list[str]:
    there = set(contigs)
    return [layout.name for layout in layouts if layout.name in there]


def _motifs(part: SpliceSplit) -> dict[str, dict[str, int]]:
    """Count the motifs of sites by label, the most frequent first."""
    found = {
        label: Counter(
            motif for motif, at in zip(part.motifs, part.labels.tolist(), strict=True) if LABELS[at] == label
        )
        for label in LABELS[:NEGATIVE]
    }
    return {label: dict(count.most_common()) for label, count in found.items()}


def _centre_shares(parts: Sequence[SpliceSplit]) -> dict[str, dict[str, float]]:
    centres: list[Counter[str]] = [Counter() for _ in LABELS]
    for part in parts:
        for label, sequence in zip(part.labels.tolist(), part.sequences, strict=True):
            centres[label][centre(sequence)] += 1
    return {
        label: {bases: round(count[bases] / count.total(), 6) for bases in ("GT", "AG")}
        for label, count in zip(LABELS, centres, strict=True)
    }


def _tally(found: Candidates, members: NDArray[np.int64]) -> Counter[int]:
    """Count windows by class index."""
    return Counter(found.labels[members].tolist())


def _by_label(count: Counter[int]) -> dict[str, int]:
    return {label: count[index] for index, label in enumerate(LABELS)}


def _log_manifest(manifest: dict[str, Any]) -> None:
    annotated = manifest["annotated"]
    _log.info("protocol %s: %s", manifest["protocol"], manifest["says"])
    _log.info("annotated: %s donors, %s acceptors", f"{annotated['donor']:,}", f"{annotated['acceptor']:,}")
    for reason, count in manifest["dropped"].items():
        if any(count.values()):
            named = ", ".join(f"{number:,} {label}" for label, number in count.items() if number)
            _log.info("left out, %s: %s", reason.replace("_", " "), named)
    for split, count in manifest["counts"].items():
        named = ", ".join(f"{number:,} {label}" for label, number in count.items())
        _log.info("%s: %s; contigs: %d", split, named, len(manifest["contigs"][split]))
