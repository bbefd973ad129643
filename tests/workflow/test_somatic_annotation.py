"""A given somatic call set through the rules: normalised, annotated, gathered, counted."""

import subprocess

import polars as pl
import pytest
import yaml

from project_copy import copy_project, need_tools

pytestmark = pytest.mark.workflow

#: FGFR3 on the forward strand from 101 on: ATG, three codons, TCC (S5), stop. TERT on the reverse
#: strand, the A of its start codon at 400; its promoter hotspot −124 lies at 524.
CODING = "ATGAAATGGCGATCCTAA"
STUDY = {
    "study": "tiny",
    "version": "1.0",
    "title": "A given call set",
    "participants": ["alpha"],
    "reference": {
        "name": "toy",
        "genome": "input/genome.fa",
        "annotation": "input/genes.gff3",
        "germline_resource": "input/population.vcf.gz",
        "clinvar": "input/clinvar.vcf.gz",
        "hotspots": "input/hotspots.tsv",
    },
    "clinical": {"variables": {"age": {"type": "number", "unit": "a", "bins": [18, 65, 111]}}},
    "disclosure": {},
}
SITE = {
    "site": "alpha",
    "title": "Alpha",
    "country": "LU",
    "study": "tiny",
    "study_version": "1.0",
    "samples": "input/samples.tsv",
}


def gene(number, name, strand, start, end, coding):
    identifier = f"ENSG{number:011d}"
    rows = [
        ("gene", start, end, ".", f"ID=gene:{identifier};Name={name};biotype=protein_coding;"
         f"gene_id={identifier}"),
        ("mRNA", start, end, ".", f"ID=transcript:ENST{number};Parent=gene:{identifier};"
         "biotype=protein_coding"),
        ("exon", start, end, ".", f"Parent=transcript:ENST{number}"),
        ("CDS", *coding, 0, f"ID=CDS:P{number};Parent=transcript:ENST{number}"),
    ]  # fmt: skip
    return "".join(f"5\tx\t{k}\t{s}\t{e}\t.\t{strand}\t{p}\t{a}\n" for k, s, e, p, a in rows)


def write_input(root, clinvar_chromosome="5"):
    folder = root / "input"
    folder.mkdir()
    sequence = list("C" * 1000)
    sequence[100:118] = CODING
    sequence[523] = "G"
    # TERT: TTA … CAT on the forward strand.
    sequence[388:400] = "TTAAAAAAACAT"
    genome = "".join(sequence)
    (folder / "genome.fa").write_text(f">5\n{genome}\n")
    (folder / "genes.gff3").write_text(
        "##gff-version 3\n"
        + gene(1, "FGFR3", "+", 91, 140, (101, 118))
        + gene(2, "TERT", "-", 380, 420, (389, 400))
    )
    (folder / "hotspots.tsv").write_text(
        "gene_name\tkind\tposition\treference\talternate\tsource\n"
        "FGFR3\tprotein\t5\tS\tC\tmade up\nTERT\tpromoter\t-124\tC\tT\tmade up\n"
    )
    header = "##fileformat=VCFv4.2\n##contig=<ID={},length=1000>\n"
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    known = {
        "population": ("AF", "A", "Float", "5", "AF=0.25,0.001"),
        "clinvar": ("CLNSIG", ".", "String", clinvar_chromosome, "CLNSIG=Pathogenic"),
    }
    for name, (field, number, kind, chromosome, value) in known.items():
        alternate = "A,G" if name == "population" else "G"
        plain = folder / f"{name}.vcf"
        plain.write_text(
            header.format(chromosome)
            + f'##INFO=<ID={field},Number={number},Type={kind},Description="x">\n{columns}\n'
            + f"{chromosome}\t114\t.\tC\t{alternate}\t.\t.\t{value}\n"
        )
        subprocess.run(["bgzip", plain], check=True)
    calls = [
        # Two neighbours in codon 2 on one haplotype; S5C with a second allele beside it.
        (104, "A", "C", "PASS", "0|1", "20,10"),
        (105, "A", "C", "PASS", "0|1", "20,10"),
        (114, "C", "G,T", "PASS", "0/1", "20,10,0"),
        # C228T: G to A on the forward strand.
        (524, "G", "A", "PASS", "0/1", "15,15"),
        (107, "T", "TC", "weak", "0|1", "20,10"),
    ]
    (folder / "calls.vcf").write_text(
        header.format("5")
        + '##FILTER=<ID=weak,Description="Weak">\n'
        + '##INFO=<ID=AF,Number=A,Type=Float,Description="of the caller">\n'
        + '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
        + '##FORMAT=<ID=AD,Number=R,Type=Integer,Description="Depths">\n'
        + '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Depth">\n'
        + f"{columns}\tFORMAT\tTUMOR\tNORMAL\n"
        + "".join(
            f"5\t{p}\t.\t{r}\t{a}\t.\t{f}\t.\tGT:AD:DP\t{gt}:{ad}:30\t0/0:.:30\n"
            for p, r, a, f, gt, ad in calls
        )
    )
    (folder / "samples.tsv").write_text(
        "patient\tsample\ttissue\tassay\tvcf\tvcf_sample\n"
        "P1\tP1-T\ttumour\tdna\tinput/calls.vcf\tTUMOR\n"
    )
    for name, document in (
        ("study", STUDY),
        ("site", SITE),
        ("config", {"study": "input/study.yaml", "sites": ["input/site.yaml"]}),
    ):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document))


TARGETS = (
    "results/tiny/sites/alpha/variants/somatic_variants.parquet",
    "results/tiny/sites/alpha/summaries/gene_alterations.parquet",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    need_tools("bcftools", "samtools", "bgzip")
    project = copy_project(tmp_path_factory.mktemp("annotation") / "project")
    write_input(project.root)
    project.run("--configfile", "input/config.yaml", "--cores", "2", "--quiet", "--", *TARGETS)
    return project.root


def test_each_variant_is_told_in_full(site):
    variants = pl.read_parquet(site / TARGETS[0])
    columns = ["position", "alternate_allele", "gene_name", "alteration_class", "protein_change"]
    assert variants.select(columns).rows() == [
        # One haplotype: the change is told at its first record, and K2Q and K2T are not made up.
        (104, "C", "FGFR3", "missense", "K2P"),
        (105, "C", None, "noncoding", None),
        (114, "G", "FGFR3", "hotspot", "S5C"),
        (524, "A", "TERT", "promoter", None),
    ]
    known = variants.select("population_frequency", "clinical_significance").rows()
    # The frequency is that of the same allele, the second of the resource's record.
    assert known[2] == (pytest.approx(0.001), "Pathogenic")
    assert [row for number, row in enumerate(known) if number != 2] == [(None, None)] * 3
    assert variants["allele_fraction"].to_list() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0.5])
    assert variants["gene_id"].to_list() == [
        *("ENSG00000000001", None, "ENSG00000000001", "ENSG00000000002")
    ]


def test_patients_are_counted_by_class(site):
    counts = pl.read_parquet(site / TARGETS[1]).filter(stratum="all")
    altered = counts.filter(pl.col("n_altered") > 0).select("gene_name", "alteration_class")
    assert sorted(altered.rows()) == [
        ("FGFR3", "any"),
        ("FGFR3", "hotspot"),
        ("FGFR3", "missense"),
        ("TERT", "promoter"),
    ]
    # Only of TERT was the promoter looked at.
    assert counts.filter(alteration_class="promoter")["gene_name"].to_list() == ["TERT"]


def test_known_variants_under_other_chromosome_names_stop_the_run(tmp_path):
    need_tools("bcftools", "samtools", "bgzip")
    project = copy_project(tmp_path / "project")
    write_input(project.root, clinvar_chromosome="chr5")
    answer = project.snakemake(
        *("--configfile", "input/config.yaml", "--cores", "2", "--quiet", "--"),
        "results/tiny/reference/known/clinvar.vcf.gz",
    )
    assert answer.returncode != 0
    log = project.root / "results/tiny/logs/index_known_variants/clinvar.log"
    assert "shares no chromosome name with the genome" in log.read_text()
    assert not (project.root / "results/tiny/reference/known/clinvar.vcf.gz").exists()
