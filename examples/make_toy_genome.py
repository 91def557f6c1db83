"""A toy genome to try everything on: FASTA and GFF3, which prepare_shards.py and prepare_splice.py read.

python examples/make_toy_genome.py output_dir=toy seed=1
"""

from __future__ import annotations

from omegaconf import DictConfig

from dnabert_nemo.command import command
from dnabert_nemo.genome.annotation import gene_bodies
from dnabert_nemo.genome.annotation_file import read_annotation
from dnabert_nemo.genome.splice_sites import splice_sites
from dnabert_nemo.genome.toy import write_toy_genome


@command("make_toy_genome")
def main(cfg: DictConfig) -> None:
    """Write the genome, read its annotation back, and say what is in it."""
    fasta, gff3 = write_toy_genome(
        cfg.output_dir,
        seed=cfg.seed,
        num_chromosomes=cfg.num_chromosomes,
        chromosome_length=cfg.chromosome_length,
    )
    transcripts = read_annotation(gff3)
    kinds = [site.kind for site in splice_sites(transcripts)]
    print(f"{fasta}: {cfg.num_chromosomes} chromosomes of {cfg.chromosome_length:,} bases")
    print(
        f"{gff3}: {len(gene_bodies(transcripts))} genes, {len(transcripts)} transcripts, "
        f"{kinds.count('donor')} donor and {kinds.count('acceptor')} acceptor sites"
    )


if __name__ == "__main__":
    main()
