"""By which rules sites and negatives become a splice data set: protocols by name, for `prepare`."""

from __future__ import annotations

from dataclasses import dataclass

from dnabert_nemo.errors import ConfigError

GENE_BODY, INTRON_MIDPOINT, DECOY = "gene_body", "intron_midpoint", "decoy"
MINOR = ("GC-AG", "AT-AC")  # introns by their first two and last two bases


@dataclass(frozen=True)
class Protocol:
    """What is drawn from a genome and its annotation, and how it is split.

    Args:
        says: in one line, for the manifest and the report.
        negatives: GENE_BODY, uniform over the bases of genes, on their strand; INTRON_MIDPOINT, the middle of
            introns; DECOY, for each site one of its own dinucleotide, gene and strand.
        by_contig: whole contigs are held out; else windows at random, neighbours of which training has seen.
        is_stranded: windows are read along their strand; else along the forward one.
        is_unique: each site once, not once for each isoform, and each window once.
        introns: the sites of such introns alone; () for all.
        most_shared: the share of a held-out window's 31-mers that training may have seen; None for any.
    """

    name: str
    says: str
    negatives: str = GENE_BODY
    by_contig: bool = True
    is_stranded: bool = True
    is_unique: bool = True
    introns: tuple[str, ...] = ()
    most_shared: float | None = None


_ALL = (
    Protocol(
        "card_by_contig",
        "the model card's classes and numbers, negatives anywhere in genes, held out by contig",
    ),
    Protocol(
        "card",
        "the model card's, strand-corrected and each site once, with windows held out at random",
        by_contig=False,
    ),
    Protocol(
        "card_as_published",
        "for comparison only, as the card's figures were made: a site once for each isoform, middles of "
        "introns as negatives, minus strands not turned, windows held out at random though isoforms repeat",
        negatives=INTRON_MIDPOINT,
        by_contig=False,
        is_stranded=False,
        is_unique=False,
    ),
    Protocol(
        "hard",
        "for each site a decoy with its dinucleotide, from its gene and strand, held out by contig",
        negatives=DECOY,
        most_shared=0.5,
    ),
    Protocol(
        "noncanonical",
        "the sites of GC-AG and AT-AC introns, each with a decoy as in `hard`, held out by contig",
        negatives=DECOY,
        introns=MINOR,
        most_shared=0.5,
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}


def protocol_of(name: object) -> Protocol:
    """Return a protocol by its name.

    Raises:
        ConfigError: there is no such one.
    """
    if not isinstance(name, str) or name not in PROTOCOLS:
        raise ConfigError(f"protocol={name}: choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
