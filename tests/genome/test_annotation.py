"""GFF3 and GTF in: drawn transcripts come back from any order of rows, and bad files have their messages."""

from __future__ import annotations

import gzip
import logging
from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.annotation import (
    GeneBody,
    Transcript,
    check_against_contigs,
    gene_bodies,
)
from dnabert_nemo.genome.annotation_file import read_annotation
from dnabert_nemo.genome.splice_sites import introns

IDS = st.text(alphabet="abXY019:._- ,;=%&\t", min_size=1, max_size=6).filter(
    lambda text: text.strip() == text
)


def bases(exons) -> set[int]:
    return {base for start, end in exons for base in range(start, end)}


def exon_row(parent: str, start=11, end=20, contig="1", strand="+", kind="exon", columns=None) -> str:
    row = [contig, "src", kind, str(start), str(end), ".", strand, ".", f"Parent={parent}" if parent else "."]
    return "\t".join(row[:columns]) + "\n"


def written(tmp_path, text: str, name="x.gff3"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


@st.composite
def annotations(draw):
    """Draw transcripts and the text of a GFF3 file of them: rows in any order, shared exons."""
    transcript_ids = draw(st.lists(IDS, min_size=1, max_size=5, unique=True))
    gene_ids = draw(st.lists(IDS, min_size=1, max_size=3))
    transcripts, rows, parents_of = [], [], {}
    for transcript_id in transcript_ids:
        contig, strand = draw(st.sampled_from(["1", "chr X", "a;b"])), draw(st.sampled_from("+-"))
        edges = draw(st.lists(st.integers(0, 60), min_size=2, max_size=8, unique=True).map(sorted))
        exons = tuple(zip(edges[::2], edges[1::2], strict=False))
        gene_id = draw(st.sampled_from([*gene_ids, transcript_id]))
        transcripts.append(Transcript(transcript_id, gene_id, contig, strand, exons))
        for exon in exons:
            parents_of.setdefault((contig, strand, exon), []).append(transcript_id)
        if gene_id != transcript_id:
            names = f"ID={quote(transcript_id)};Note=5' \"end;Parent={quote(gene_id)}"
            rows.append(f"{quote(contig)}\t.\tmRNA\t1\t99\t.\t{strand}\t.\t{names}")
    for (contig, strand, (start, end)), parents in parents_of.items():
        names = f"{draw(st.sampled_from(['', 'Name=e; ']))}Parent={','.join(map(quote, parents))};rank=1"
        rows.append(f"{quote(contig)}\t.\texon\t{start + 1}\t{end}\t0.5\t{strand}\t.\t{names}")
        rows.append(
            f"{quote(contig)}\t.\tCDS\t{start + 1}\t{end}\t.\t{strand}\t0\tParent={quote(parents[0])}"
        )
    rows = draw(st.permutations([*rows, "# a comment", "", "###", "1\t.\tgene\t1\t99\t.\t.\t.\tID=gene"]))
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    tail = draw(st.sampled_from(["", f"##FASTA{ending}>1{ending}ACGT{ending}", f">1{ending}ACGT"]))
    return transcripts, ending.join(["##gff-version 3", *rows, tail])


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(annotations(), st.booleans())
def test_drawn_transcripts_come_back(tmp_path, drawn, is_packed):
    transcripts, text = drawn
    path = tmp_path / "x.gff3"
    path.write_bytes(gzip.compress(text.encode()) if is_packed else text.encode())
    assert sorted(read_annotation(path), key=repr) == sorted(transcripts, key=repr)


def test_transcripts_come_in_the_order_of_their_first_exon(tmp_path):
    path = written(tmp_path, exon_row("t2") + exon_row("t1") + exon_row("t2", 31, 40))
    assert [transcript.transcript_id for transcript in read_annotation(path)] == ["t2", "t1"]


def test_exons_that_overlap_or_touch_are_merged_and_logged(tmp_path, caplog):
    rows = [(41, 50), (1, 10), (11, 20), (15, 30), (16, 17), (1, 10)]
    path = written(tmp_path, "".join(exon_row("t", *row) for row in rows))
    with caplog.at_level(logging.WARNING):
        assert read_annotation(path)[0].exons == ((0, 30), (40, 50))
    assert "1 transcripts have exons that overlap or touch" in caplog.text


def test_trans_spliced_transcripts_are_left_out_and_logged(tmp_path, caplog):
    text = exon_row("t") + exon_row("t", 31, 40, strand="-") + exon_row("u") + exon_row("u", contig="2")
    with caplog.at_level(logging.WARNING):
        kept = read_annotation(written(tmp_path, text + exon_row("v")))
    assert [transcript.transcript_id for transcript in kept] == ["v"]
    assert "left out 2 transcripts with exons on two strands or contigs: t, u" in caplog.text


GOOD = "##gff-version 3\n" + exon_row("t")
BAD_FILES = {
    "8 columns": (
        GOOD + exon_row("t", columns=8),
        3,
        "8 columns where GFF3 and GTF have 9, separated by tabs",
    ),
    "spaces for tabs": (
        GOOD + exon_row("t").replace("\t", " "),
        3,
        "1 columns where GFF3 and GTF have 9.*'1 src exon",
    ),
    "a start in words": (GOOD + exon_row("t", "one"), 3, "coordinates 'one' and '20' are not whole numbers"),
    "an end with a point": (GOOD + exon_row("t", end="20.5"), 3, "coordinates '11' and '20.5' are not whole"),
    "start above end": (GOOD + exon_row("t", 21, 20), 3, "exon from 21 to 20"),
    "counting from 0": (GOOD + exon_row("t", 0, 20), 3, "exon from 0 to 20: GFF3 counts from 1"),
    "no strand": (
        GOOD + exon_row("t", strand="."),
        3,
        r"of type exon must be \+ or -, here is '\.'",
    ),
    "unknown strand": (GOOD + exon_row("t", strand="?"), 3, r"of type exon must be \+ or -, here is '\?'"),
    "exon without Parent": (GOOD + exon_row(""), 3, "exon without a Parent attribute: add the ID"),
    "exon with an empty Parent": (GOOD + exon_row(" ").replace("= ", "="), 3, "exon without a Parent"),
    "GTF without a transcript": (
        '1\tsrc\texon\t1\t9\t.\t+\t.\tgene_id "g"; transcript_id "";\n',
        1,
        'exon without transcript_id "...": add the identifier',
    ),
    "GTF counting from 0": (
        '1\tsrc\texon\t0\t9\t.\t+\t.\tgene_id "g"; transcript_id "t";\n',
        1,
        "exon from 0 to 9: GTF counts from 1",
    ),
    "empty": ("", None, "no feature row in it"),
    "comments": ("##gff-version 3\n# nothing\n", None, "no feature row in it"),
    "FASTA": (">1\nACGT\n", None, "no feature row in it"),
    "an intron of nothing": (
        exon_row("t", kind="intron"),
        None,
        "introns of transcript 't', of which it has no other row",
    ),
    "an intron at an end": (
        exon_row("t", kind="intron") + exon_row("t", kind="CDS") * 2,
        None,
        "transcript 't' has an intron that is not inside of it",
    ),
    "genes only": (
        exon_row("t", kind="gene") * 1_200 + exon_row("t", kind="tRNA"),
        None,
        r"no exon, intron or CDS rows \(there are 1,200 gene, 1 tRNA\): give an annotation",
    ),
}


@pytest.mark.parametrize(("text", "line", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file_is_told_with_file_and_line(tmp_path, text, line, message):
    path = written(tmp_path, text)
    with pytest.raises(FormatError, match=message) as caught:
        read_annotation(path)
    assert caught.value.path == path
    assert caught.value.line == line
    assert "\n" not in str(caught.value)


def test_missing_and_truncated_files_are_told(tmp_path):
    with pytest.raises(FormatError, match=r"nowhere\.gff3: no such file"):
        read_annotation(tmp_path / "nowhere.gff3")
    rows = "".join(exon_row(f"t{n * n}", n + 1, n + 9) for n in range(2_000))
    (tmp_path / "x.gff3.gz").write_bytes(gzip.compress(rows.encode())[:-40])
    with pytest.raises(FormatError, match="gzip data end too early"):
        read_annotation(tmp_path / "x.gff3.gz")


def transcript(name="t", contig="1", exons=((10, 20), (30, 40)), gene="g", strand="+") -> Transcript:
    return Transcript(name, gene, contig, strand, exons)


def test_transcripts_within_their_contigs_are_kept():
    transcripts = [transcript(), transcript("u", "2")]
    assert check_against_contigs(transcripts, {"1": 40, "2": 41, "3": 5}, "x.gff3") == transcripts


def test_seqids_without_sequence_are_dropped_and_logged(caplog):
    transcripts = [transcript("t"), transcript("u", "Mt"), transcript("v", "Mt"), transcript("w", "Pt")]
    with caplog.at_level(logging.WARNING):
        assert check_against_contigs(transcripts, {"1": 40}, "x.gff3") == transcripts[:1]
    assert "dropped 3 transcripts on 2 seqids that have no sequence: Mt, Pt" in caplog.text


@pytest.mark.parametrize(
    ("seqids", "contigs", "message"),
    [
        (
            "A B",
            "a b",
            r"none of its seqids \(A, B\) is a contig of the FASTA \(a, b\): give both files of one",
        ),
        ("1 2 X", "chr1 chr2 chrX", r"none of its seqids \(1, 2, X\).*put 'chr' before its seqids"),
        ("chr1 chr2", "1 2", r"none of its seqids \(chr1, chr2\).*take 'chr' off its seqids"),
        ("a b c d e", "v w x y z 0", r"\(a, b, c, d, \.\.\. 5 in all\).*\(v, w, x, y, \.\.\. 6 in all\)"),
    ],
)
def test_seqids_that_match_no_contig_are_told_with_both_sides(seqids, contigs, message):
    transcripts = [transcript(contig=seqid) for seqid in seqids.split()]
    with pytest.raises(FormatError, match=rf"^x\.gff3: .*{message}"):
        check_against_contigs(transcripts, dict.fromkeys(contigs.split(), 100), "x.gff3")


def test_coordinates_beyond_the_contig_are_told():
    message = (
        r"^x\.gff3: transcript 'u' ends at base 1,040 of '1', which has 1,039 bases: give the annotation of"
    )
    with pytest.raises(FormatError, match=message):
        check_against_contigs([transcript(), transcript("u", exons=((5, 1_040),))], {"1": 1_039}, "x.gff3")


def test_gene_bodies_span_all_transcripts_and_are_sorted():
    transcripts = [
        transcript("t", "2", ((50, 60), (70, 80)), "g"),
        transcript("u", "2", ((40, 45), (50, 60)), "g"),
        transcript("v", "2", ((55, 75),), "h", "-"),
        transcript("w", "1", ((90, 99),), "i"),
    ]
    assert gene_bodies(transcripts) == [
        GeneBody("i", "1", "+", 90, 99),
        GeneBody("g", "2", "+", 40, 80),
        GeneBody("h", "2", "-", 55, 75),
    ]


@pytest.mark.parametrize(
    "name",
    ["human/human_GRCh38_regions.gff3.gz", "mini_genomes/A.thaliana.gff.gz", "mini_genomes/C.elegans.gff.gz"],
)
def test_real_annotations_read_as_gffutils_reads_them(data_dir, name):
    feature_from_line = pytest.importorskip("gffutils.feature").feature_from_line
    exons_of: dict[str, set[tuple[int, int]]] = {}
    gene_of: dict[str, str] = {}
    with gzip.open(data_dir / name, "rt") as file:
        for line in file:
            if line.startswith("#") or line.split("\t")[2] == "intron":
                continue
            feature = feature_from_line(line)
            if feature.featuretype == "exon":
                for parent in feature.attributes["Parent"]:
                    exons_of.setdefault(parent, set()).add((feature.start - 1, feature.end))
            elif "Parent" in feature.attributes and "ID" in feature.attributes:
                gene_of[feature.attributes["ID"][0]] = feature.attributes["Parent"][0]
    transcripts = read_annotation(data_dir / name)
    assert {t.transcript_id: t.gene_id for t in transcripts} == {t: gene_of.get(t, t) for t in exons_of}
    for transcript in transcripts:
        assert bases(transcript.exons) == bases(exons_of[transcript.transcript_id])
        assert all(left[1] < right[0] for left, right in pairwise(transcript.exons))


POMBASE = "spombe/Schizosaccharomyces_pombe_all_chromosomes.gff3.gz"


def gaps(transcripts) -> set[tuple[str, str, int, int]]:
    return {(t.contig, t.strand, *gap) for t in transcripts for gap in introns(t)}


def test_real_annotation_without_exon_rows_has_the_introns_of_its_intron_rows(data_dir, caplog):
    with caplog.at_level(logging.INFO), gzip.open(data_dir / POMBASE, "rt") as file:
        rows = [line.split("\t") for line in file if "\tintron\t" in line]
        transcripts = read_annotation(data_dir / POMBASE)
    assert "no exon rows: exons are what introns leave" in caplog.text
    told = {(row[0], row[6], int(row[3]) - 1, int(row[4])) for row in rows}
    found = gaps(transcripts)
    assert found == {each for each in told if each[3] - each[2] >= 4}
    assert len(found) > 5_300
    assert len({t.gene_id for t in transcripts}) > 5_000


def test_without_intron_rows_either_the_parts_tell_nearly_all(data_dir, tmp_path):
    with gzip.open(data_dir / POMBASE, "rt") as file:
        text = "".join(line for line in file if "\tintron\t" not in line)
    by_parts = gaps(read_annotation(written(tmp_path, text)))
    by_introns = gaps(read_annotation(data_dir / POMBASE))
    assert len(by_parts & by_introns) > 0.97 * len(by_introns)


def as_gtf(transcripts) -> str:
    """Write transcripts as Ensembl and GENCODE do, in transcript, exon and CDS rows."""
    text = "#!genome-build GRCh38\n"
    for t in transcripts:
        names = f'gene_id "{t.gene_id}"; transcript_id "{t.transcript_id}"; note "a; b";'
        whole = [(t.exons[0][0], t.exons[-1][1])]
        for kind, parts in (("transcript", whole), ("exon", t.exons), ("CDS", t.exons)):
            for start, end in parts:
                text += f"{t.contig}\tHAVANA\t{kind}\t{start + 1}\t{end}\t.\t{t.strand}\t.\t{names}\n"
    return text


@pytest.mark.parametrize("kinds", [("transcript", "exon", "CDS"), ("exon",), ("CDS",)])
def test_gtf_says_what_gff3_says(data_dir, tmp_path, kinds):
    """Whole files of GENCODE, the exons alone of UCSC, the CDS alone of some gene finders."""
    transcripts = read_annotation(data_dir / "human/human_GRCh38_regions.gff3.gz")
    lines = as_gtf(transcripts).splitlines(keepends=True)
    text = "".join(line for line in lines if line.startswith("#") or line.split("\t")[2] in kinds)
    read = read_annotation(written(tmp_path, text, "x.gtf"))
    assert sorted(read, key=repr) == sorted(transcripts, key=repr)


def test_a_coding_part_without_a_parent_stands_for_itself(tmp_path):
    row = "c\tProdigal\tCDS\t{}\t{}\t.\t+\t0\tID={};partial=00\n"
    read = read_annotation(written(tmp_path, row.format(2, 301, "1_1") + row.format(400, 699, "1_2")))
    assert [(t.transcript_id, t.gene_id, t.exons) for t in read] == [
        ("1_1", "1_1", ((1, 301),)),
        ("1_2", "1_2", ((399, 699),)),
    ]


def test_exons_after_introns_take_over(tmp_path):
    text = exon_row("t", 1, 9, kind="intron") + exon_row("u", 1, 9, kind="CDS") + exon_row("v", 5, 8)
    text += exon_row("", 2, 3, kind="intron") + exon_row("w", 9, 1, kind="CDS")  # which nobody looks at
    assert [t.transcript_id for t in read_annotation(written(tmp_path, text))] == ["v"]
