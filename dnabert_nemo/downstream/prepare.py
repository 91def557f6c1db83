"""FASTA and GFF3 to a splice data set: examples/prepare_splice.py calls it, `load_splice_dataset` reads.

Protocol `card_by_contig`: the model card's classes and numbers, on unique sites and whole contigs. Negatives
are uniform over the bases of gene bodies. Donors, acceptors and negatives are equally many in every split, so
that the card's metrics are taken where it took them, at as many negatives as sites.
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
from dnabert_nemo.downstream.splice_balance import NEGATIVE, choose_balanced, distinct_windows
from dnabert_nemo.downstream.splice_dataset import LABELS, MANIFEST, SpliceSplit, write_split
from dnabert_nemo.downstream.splice_windows import (
    Layout,
    cut_windows,
    draw_negatives,
    fit,
    negative_rooms,
    read_layouts,
    site_places,
)
from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.annotation import Transcript, check_against_contigs, gene_bodies
from dnabert_nemo.genome.annotation_file import read_annotation
from dnabert_nemo.genome.splice_sites import introns, splice_sites
from dnabert_nemo.shards.folder import publish
from dnabert_nemo.shards.records import file_sha256
from dnabert_nemo.shards.splits import SPLITS, SplitSettings, Unit, assign_splits

PROTOCOL = "card_by_contig"

# Streams of random numbers; those below 100 belong to the contigs' split and to shards.
_NEGATIVE_STREAM = 100
_SITE_STREAM = 110

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpliceSettings:
    """What decides the windows of a data set, besides its input and split.

    Raises:
        ConfigError: a value is out of range.
    """

    window: int = 512  # bases, even: the site's two stand in the middle
    per_class: int = 10_000  # windows at most, over all splits
    seed: int = 1

    def __post_init__(self) -> None:
        for key, low in (("window", 2), ("per_class", 1), ("seed", 0)):
            value = getattr(self, key)
            if type(value) is not int or not low <= value < 2**32:
                raise ConfigError(f"{key}={value}: give a whole number from {low} to {2**32 - 1}")
        if self.window % 2:
            remedy = f"pass window={self.window + 1}"
            raise ConfigError(f"window={self.window} has no middle pair for the site: {remedy}")


def prepare_splice(
    fasta: Sequence[Path],
    gff3: Sequence[Path],
    output_dir: Path,
    settings: SpliceSettings,
    split: SplitSettings,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write train.csv, validation.csv, test.csv and manifest.json, all at once; returns the manifest.

    The same input, settings and split give the same bytes. Every window is there once: of equal sequences the
    first in input order stays, a site before a negative, and one that is both donor and acceptor goes. Holds
    one contig in memory, and the windows.

    Raises:
        ConfigError: `output_dir` exists, or the splits or the window do not fit the contigs.
        FormatError: an input file is missing or damaged, annotates other contigs, or has no introns.
    """
    for key, paths in (("fasta", fasta), ("gff3", gff3)):
        if not paths:
            raise ConfigError(f"input.{key}=[] names no file: pass input.{key}=[FILE]")
    with publish(output_dir, splice_dataset.FILES, overwrite=overwrite) as folder:
        annotated = _read_annotation(gff3)
        layouts = read_layouts(fasta)
        places, split_of, dropped = _candidates(annotated, layouts, settings, split)
        windows = cut_windows(fasta, places, settings.window)
        is_kept, duplicates = distinct_windows(places, windows, split_of)
        chosen = choose_balanced(places, is_kept, split_of, settings.per_class, settings.seed, _SITE_STREAM)
        dropped |= {**duplicates, "beyond_balance": _tally(places[is_kept]) - _tally(places[chosen])}
        del dropped["beyond_balance"][NEGATIVE]  # spare draws, nothing the input had
        parts = _parts(places[chosen], [windows[i] for i in chosen.tolist()], layouts, split_of)
        _check_parts(parts, split, settings.per_class)
        for name, part in parts.items():
            write_split(folder / f"{name}.csv", part)
        manifest = {
            "format_version": splice_dataset.FORMAT_VERSION,
            "protocol": PROTOCOL,
            **asdict(settings),
            "split": asdict(split),
            "contigs": {
                name: [layouts[number].name for number in np.flatnonzero(split_of == place)]
                for place, name in enumerate(SPLITS)
            },
            "counts": {name: _by_label(Counter(part.labels.tolist())) for name, part in parts.items()},
            "annotated": _by_label(_num_sites(annotated)),
            "dropped": {reason: _by_label(count) for reason, count in dropped.items()},
            "centre_shares": _centre_shares(list(parts.values())),
            "inputs": [{"name": path.name, "sha256": file_sha256(path)} for path in [*fasta, *gff3]],
            "files": {f"{name}.csv": file_sha256(folder / f"{name}.csv") for name in SPLITS},
        }
        content = json.dumps(manifest, indent=1) + "\n"
        (folder / MANIFEST).write_text(content, encoding="utf-8", newline="\n")
    _log_manifest(manifest)
    return manifest


def _read_annotation(gff3: Sequence[Path]) -> dict[Path, list[Transcript]]:
    """Read the transcripts of each file; there must be an intron in one of them."""
    annotated = {path: read_annotation(path) for path in gff3}
    transcripts = list(chain.from_iterable(annotated.values()))
    if not any(introns(transcript) for transcript in transcripts):
        others = f" nor in the {len(gff3) - 1} files after it" if len(gff3) > 1 else ""
        problem = f"no splice sites in it{others}: none of {len(transcripts):,} transcripts has an intron"
        raise FormatError(gff3[0], f"{problem}; give the annotation of a genome whose genes are spliced")
    return annotated


def _candidates(
    annotated: Mapping[Path, Sequence[Transcript]],
    layouts: Sequence[Layout],
    settings: SpliceSettings,
    split: SplitSettings,
) -> tuple[NDArray[np.void], NDArray[np.int64], dict[str, Counter[int]]]:
    """Find all sites with a window, then more negatives than can be needed.

    Returns their places, PLACE [n]; the place in SPLITS of each contig; and the sites dropped, by reason.
    """
    lengths = {layout.name: layout.length for layout in layouts}
    checked = (check_against_contigs(of_file, lengths, path) for path, of_file in annotated.items())
    transcripts = list(chain.from_iterable(checked))
    places = site_places(splice_sites(transcripts), layouts)
    stays, is_unbroken = fit(places, layouts, settings.window)
    if not is_unbroken.any():
        problem = f"none of the {len(places):,} splice sites has so many bases of A, C, G, T around it"
        raise ConfigError(f"window={settings.window}: {problem}: pass a smaller window")
    dropped = {
        "contig_without_sequence": _num_sites(annotated) - _tally(places),
        "outside_contig": _tally(places[~stays]),
        "not_acgt": _tally(places[stays & ~is_unbroken]),
    }
    sites = places[is_unbroken]
    split_of = _assign(layouts, sites, split, settings.seed)
    rooms = negative_rooms(gene_bodies(transcripts), layouts, settings.window)
    return np.concatenate([sites, *_negatives(rooms, sites, split_of, settings.seed)]), split_of, dropped


def _assign(
    layouts: Sequence[Layout], sites: NDArray[np.void], split: SplitSettings, seed: int
) -> NDArray[np.int64]:
    """Assign each contig a place in SPLITS, [num_contigs]; the fractions are shares of the sites."""
    names = [layout.name for layout in layouts]
    num_sites = np.bincount(sites["contig"], minlength=len(layouts))
    for key, named in (("validation", split.validation), ("test", split.test)):
        numbers = [names.index(name) for name in named or () if name in names]
        if named and len(numbers) == len(named) and not num_sites[numbers].any():
            given = f"split.{key}=[{','.join(named)}]"
            raise ConfigError(f"{given}: no splice site there has a whole window: name other contigs")
    units = [Unit(name, "", count) for name, count in zip(names, num_sites.tolist(), strict=True)]
    return assign_splits(units, split, seed)


def _negatives(
    rooms: NDArray[np.void], sites: NDArray[np.void], split_of: NDArray[np.int64], seed: int
) -> list[NDArray[np.void]]:
    """Draw a quarter more negatives than each split has pairs of sites, so that duplicates may go."""
    drawn = []
    for place in range(len(SPLITS)):
        of_split = sites[split_of[sites["contig"]] == place]
        num_pairs = int(np.bincount(of_split["label"], minlength=NEGATIVE).min())
        in_split = rooms[split_of[rooms["contig"]] == place]
        count = num_pairs + num_pairs // 4 + 16
        drawn.append(draw_negatives(in_split, of_split, count, seed, _NEGATIVE_STREAM + place))
    return drawn


def _parts(
    places: NDArray[np.void], windows: Sequence[str], layouts: Sequence[Layout], split_of: NDArray[np.int64]
) -> dict[str, SpliceSplit]:
    parts = {}
    for place, name in enumerate(SPLITS):
        members = np.flatnonzero(split_of[places["contig"]] == place)
        part = places[members]
        parts[name] = SpliceSplit(
            sequences=[windows[i] for i in members.tolist()],
            labels=part["label"],
            contigs=[layouts[number].name for number in part["contig"]],
            starts=part["start"],
            strands=["-" if is_reverse else "+" for is_reverse in part["is_reverse"]],
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


def _centre_shares(parts: Sequence[SpliceSplit]) -> dict[str, dict[str, float]]:
    centres: list[Counter[str]] = [Counter() for _ in LABELS]
    for part in parts:
        for label, sequence in zip(part.labels.tolist(), part.sequences, strict=True):
            centres[label][centre(sequence)] += 1
    return {
        label: {bases: round(count[bases] / count.total(), 6) for bases in ("GT", "AG")}
        for label, count in zip(LABELS, centres, strict=True)
    }


def _num_sites(annotated: Mapping[Path, Sequence[Transcript]]) -> Counter[int]:
    sites = splice_sites(chain.from_iterable(annotated.values()))
    return Counter(LABELS.index(site.kind) for site in sites)


def _tally(places: NDArray[np.void]) -> Counter[int]:
    """Count places by class index."""
    return Counter(places["label"].tolist())


def _by_label(count: Counter[int]) -> dict[str, int]:
    return {label: count[index] for index, label in enumerate(LABELS)}


def _log_manifest(manifest: dict[str, Any]) -> None:
    annotated = manifest["annotated"]
    _log.info("annotated: %s donors, %s acceptors", f"{annotated['donor']:,}", f"{annotated['acceptor']:,}")
    for reason, count in manifest["dropped"].items():
        if any(count.values()):
            named = ", ".join(f"{number:,} {label}" for label, number in count.items() if number)
            _log.info("left out, %s: %s", reason.replace("_", " "), named)
    for split, count in manifest["counts"].items():
        named = ", ".join(f"{number:,} {label}" for label, number in count.items())
        _log.info("%s: %s; contigs: %d", split, named, len(manifest["contigs"][split]))
