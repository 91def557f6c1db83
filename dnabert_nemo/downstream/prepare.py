"""Genomes and annotations to a splice data set, by one of `protocols`: examples/prepare_splice.py calls it.

Its windows are chosen among `candidates`. Donors and acceptors are equally many in every split of every
genome, and so are negatives, or the decoys of each.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream import splice_dataset
from dnabert_nemo.downstream.baselines import centre
from dnabert_nemo.downstream.candidates import Candidates, draw_candidates
from dnabert_nemo.downstream.genomes import Genome, check_genomes
from dnabert_nemo.downstream.protocols import Protocol, protocol_of
from dnabert_nemo.downstream.splice_balance import ALONE, NEGATIVE, choose_balanced, distinct_windows
from dnabert_nemo.downstream.splice_dataset import LABELS, MANIFEST, SpliceSplit, write_split
from dnabert_nemo.downstream.splice_leaks import shares_in
from dnabert_nemo.downstream.splice_survey import Survey, survey
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.shards.folder import publish
from dnabert_nemo.shards.records import file_sha256
from dnabert_nemo.shards.splits import SPLITS, SplitSettings, named_places

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
    genomes: Sequence[Genome],
    output_dir: Path,
    settings: SpliceSettings,
    split: SplitSettings,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write train.csv, validation.csv, test.csv and manifest.json, all at once; returns the manifest.

    The same input, settings and split give the same bytes. Where a protocol's windows are unique, of equal
    sequences the first in input order stays, a site before a negative, and one that is both donor and
    acceptor goes; in all of this several genomes are as one. Holds one contig in memory, the annotation of
    one genome, and the windows.

    Raises:
        ConfigError: `output_dir` exists, the genomes cannot be told apart, or the splits or the window do not
            fit the contigs.
        FormatError: an input file is missing or damaged, annotates other contigs, or has no introns.
    """
    check_genomes(genomes)
    protocol = protocol_of(settings.protocol)
    with publish(output_dir, splice_dataset.FILES, overwrite=overwrite) as folder:
        surveyed = survey(genomes, protocol, settings.window)
        found, dropped = draw_candidates(surveyed, protocol, split, width=settings.window, seed=settings.seed)
        chosen = _chosen(found, protocol, settings, dropped)
        parts = _parts(found, chosen, surveyed.contigs, protocol)
        _check_parts(parts, split, settings.per_class)
        for name, part in parts.items():
            write_split(folder / f"{name}.csv", part)
        manifest = {
            "format_version": splice_dataset.FORMAT_VERSION,
            **asdict(settings),
            "says": protocol.says,
            "split": asdict(_by_full_names(split, surveyed)),
            "contigs": {name: _in_order(part.contigs, surveyed.contigs) for name, part in parts.items()},
            "counts": {name: _by_label(Counter(part.labels.tolist())) for name, part in parts.items()},
            **_of_genomes(surveyed, found, chosen),
            "motifs": {name: _motifs(part) for name, part in parts.items()},
            "annotated": _by_label(sum(surveyed.annotated, Counter())),
            "dropped": {reason: _by_label(count) for reason, count in dropped.items()},
            "centre_shares": _centre_shares(list(parts.values())),
            "inputs": [
                {**_genome_key(genome), "name": path.name, "sha256": file_sha256(path)}
                for genome in genomes
                for path in genome.files
            ],
            "files": {f"{name}.csv": file_sha256(folder / f"{name}.csv") for name in SPLITS},
        }
        content = json.dumps(manifest, indent=1) + "\n"
        (folder / MANIFEST).write_text(content, encoding="utf-8", newline="\n")
    _log_manifest(manifest)
    return manifest


def _by_full_names(split: SplitSettings, surveyed: Survey) -> SplitSettings:
    """Name contigs as the data set does; whole genomes keep their name."""
    units = surveyed.units(np.zeros(len(surveyed.layouts), dtype=np.int64))

    def full(key: str, named: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if named is None:
            return None
        found = [(name, named_places(units, [name], key)) for name in named]
        return tuple(surveyed.contigs[places[0]] if len(places) == 1 else name for name, places in found)

    return replace(split, validation=full("validation", split.validation), test=full("test", split.test))


def _genome_key(genome: Genome) -> dict[str, str]:
    return {"genome": genome.name} if genome.name else {}


def _of_genomes(surveyed: Survey, found: Candidates, chosen: NDArray[np.int64]) -> dict[str, Any]:
    """Count what each genome has and what it gives to every split, where genomes have names."""
    counts: dict[str, dict[str, Any]] = {}
    for number, genome in enumerate(surveyed.genomes):
        own = chosen[found.genomes[chosen] == number]
        of_split = {
            name: _by_label(_tally(found, own[found.splits[own] == place]))
            for place, name in enumerate(SPLITS)
        }
        counts[genome.name] = {"annotated": _by_label(surveyed.annotated[number]), "counts": of_split}
    return {"genomes": counts} if all(counts) else {}


def _chosen(
    found: Candidates, protocol: Protocol, settings: SpliceSettings, dropped: dict[str, Counter[int]]
) -> NDArray[np.int64]:
    """Choose the windows of the data set, and count the sites that are not chosen, by reason."""
    is_kept = np.ones(len(found.windows), dtype=bool)
    dropped["without_decoy"] = Counter()
    if protocol.is_unique:
        is_kept, duplicates = distinct_windows(found.labels, found.splits, found.windows)
        dropped |= duplicates
    if found.has_decoys:
        is_paired = (found.partner != ALONE) & is_kept[found.partner]
        dropped["without_decoy"] = _tally(found, np.flatnonzero(is_kept & ~is_paired))
        is_kept &= is_paired

    def balanced(is_there: NDArray[np.bool_]) -> NDArray[np.int64]:
        return choose_balanced(
            found.labels,
            found.splits,
            found.genomes,
            is_there,
            found.partner,
            settings.per_class,
            settings.seed,
            _SITE_STREAM,
        )

    chosen = balanced(is_kept)
    dropped["beyond_balance"] = _tally(found, np.flatnonzero(is_kept)) - _tally(found, chosen)
    if protocol.most_shared is not None:
        stays = _without_leaks(found, chosen, protocol.most_shared)
        dropped["shares_31_mers_with_training"] = _tally(found, chosen) - _tally(found, stays)
        chosen = balanced(np.isin(np.arange(len(is_kept)), stays))  # what went may have been of one label
        dropped["beyond_balance"] += _tally(found, stays) - _tally(found, chosen)
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
    found: Candidates, chosen: NDArray[np.int64], contigs: Sequence[str], protocol: Protocol
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
            contigs=[contigs[number] for number in part["contig"]],
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
                f"per_class={per_class} is too few, or its contigs lack donors, acceptors or gene bodies, or "
                "all they have is in training too"
            )
            raise ConfigError(f"no window is left for {name}: {problem}: name other contigs in split")


def _in_order(there: Sequence[str], contigs: Sequence[str]) -> list[str]:
    names = set(there)
    return [name for name in contigs if name in names]


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
    for genome, of_genome in manifest.get("genomes", {}).items():
        given = sum((Counter(count) for count in of_genome["counts"].values()), Counter())
        named = ", ".join(
            f"{given[label]:,} of {of_genome['annotated'][label]:,} {label}s" for label in LABELS[:NEGATIVE]
        )
        _log.info("%s: %s", genome, named)
    for reason, count in manifest["dropped"].items():
        if any(count.values()):
            named = ", ".join(f"{number:,} {label}" for label, number in count.items() if number)
            _log.info("left out, %s: %s", reason.replace("_", " "), named)
    for split, count in manifest["counts"].items():
        named = ", ".join(f"{number:,} {label}" for label, number in count.items())
        _log.info("%s: %s; contigs: %d", split, named, len(manifest["contigs"][split]))
