"""The manifest of a set that was just written, from what both passes counted; `prepare` writes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.genome.alphabet import BASES
from dnabert_nemo.kmer.vocabulary import Vocabulary
from dnabert_nemo.shards.corpus import Mixture
from dnabert_nemo.shards.manifest import FORMAT_VERSION, Component, Manifest
from dnabert_nemo.shards.records import BLOCK_BASES
from dnabert_nemo.shards.settings import ShardSettings
from dnabert_nemo.shards.survey import Scan
from dnabert_nemo.shards.writer import WrittenShard


def component_names(scan: Scan, members: NDArray[np.bool_]) -> list[str]:
    """Return the components with bases in the set of these contigs, bool [num_contigs], in input order."""
    return list(
        dict.fromkeys(
            contig.component
            for contig, is_member in zip(scan.contigs, members.tolist(), strict=True)
            if is_member and contig.num_bases
        )
    )


def describe_set(
    split: str,
    scan: Scan,
    members: NDArray[np.bool_],
    settings: ShardSettings,
    mixture: Mixture,
    shards: Sequence[WrittenShard],
) -> Manifest:
    """Describe the set of these contigs, bool [num_contigs], and these shards."""
    contigs = [contig for contig, is_member in zip(scan.contigs, members.tolist(), strict=True) if is_member]
    files = tuple(shard.file for shard in shards)
    base_counts = np.sum([shard.base_counts for shard in shards], axis=0)
    return Manifest(
        format_version=FORMAT_VERSION,
        split=split,
        k=settings.k,
        vocabulary_sha256=Vocabulary(settings.k).sha256,
        seed=settings.seed,
        min_stretch=settings.min_stretch,
        non_acgt=settings.non_acgt,
        block_bases=BLOCK_BASES,
        num_records=sum(file.num_records for file in files),
        num_stretches=sum(file.num_stretches for file in files),
        num_bases=sum(contig.num_bases for contig in contigs),
        num_tokens=sum(file.num_tokens for file in files),
        base_counts=dict(zip(BASES, base_counts.tolist(), strict=True)),
        num_soft_masked=sum(shard.num_soft_masked for shard in shards),
        num_short_stretches=sum(contig.num_short_stretches for contig in contigs),
        num_short_bases=sum(contig.num_short_bases for contig in contigs),
        num_not_bases=sum(contig.num_not_bases for contig in contigs),
        components=_components(scan, members, settings, mixture),
        shards=files,
        inputs=scan.inputs,
        contigs=tuple(contigs),
    )


def _components(
    scan: Scan, members: NDArray[np.bool_], settings: ShardSettings, mixture: Mixture
) -> tuple[Component, ...]:
    names = component_names(scan, members)
    number = {name: place for place, name in enumerate(names)}
    kinds = {contig.component: kind for contig, kind in zip(scan.contigs, scan.kinds, strict=True)}
    component_of = np.array([number.get(contig.component, 0) for contig in scan.contigs])
    stretches = scan.stretches[members[scan.stretches["contig"]]]
    component = component_of[stretches["contig"]]

    def totals(values: NDArray[np.int64]) -> list[int]:
        return [int(total) for total in np.bincount(component, weights=values, minlength=len(names))]

    tokens = totals(stretches["bases"].astype(np.int64) - settings.k + 1)
    bases = totals(stretches["bases"].astype(np.int64) - stretches["overlap"])
    counts = totals(np.ones(len(stretches), dtype=np.int64))
    weights = mixture.weights(dict(zip(names, tokens, strict=True)))
    return tuple(
        Component(
            name,
            kinds[name],
            weights[name],
            counts[place],
            bases[place],
            tokens[place],
            scan.labels.get(name, {}),
        )
        for place, name in enumerate(names)
    )
