"""Genomes as k-mer shards on disk, prepared once from FASTA; `kmer` comes before it, `data` reads them."""
