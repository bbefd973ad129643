"""Call sets of other callers as entry points."""

import subprocess

import pysam

from ihdsi.variants.somatic import read_somatic_calls
from project_copy import need_tools

# The form of GATK 4's FilterMutectCalls: the normal first, in alphabetical order; fields besides
# GT and AD; several alleles a record; FILTER names of its own.
MUTECT2 = """##fileformat=VCFv4.2
##FILTER=<ID=PASS,Description="Site contains at least one allele that passes filters">
##FILTER=<ID=germline,Description="Evidence indicates this site is germline, not somatic">
##FILTER=<ID=weak_evidence,Description="Mutation does not meet likelihood threshold">
##FORMAT=<ID=AD,Number=R,Type=Integer,Description="Allelic depths">
##FORMAT=<ID=AF,Number=A,Type=Float,Description="Allele fractions">
##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Approximate read depth">
##FORMAT=<ID=F1R2,Number=R,Type=Integer,Description="Reads in F1R2 pair orientation">
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
##FORMAT=<ID=SB,Number=4,Type=Integer,Description="Strand bias">
##INFO=<ID=AS_FilterStatus,Number=A,Type=String,Description="Filter status of each allele">
##INFO=<ID=POPAF,Number=A,Type=Float,Description="Negative log 10 population frequencies">
##INFO=<ID=TLOD,Number=A,Type=Float,Description="Log 10 likelihood ratio score">
##contig=<ID=1,length=40>
##normal_sample=P1_blood
##tumor_sample=P1_tumour
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tP1_blood\tP1_tumour
"""
FORM = "GT:AD:AF:DP:F1R2:SB"


def test_mutect2_calls_enter_as_they_are(tmp_path):
    need_tools("bcftools")
    genome, calls, split = (tmp_path / name for name in ("g.fa", "mutect2.vcf", "split.bcf"))
    genome.write_text(">1\nACGTACGTACGGGGTACCATAGGCATCGATCGATTACGAT\n")
    pysam.faidx(str(genome))
    lines = [
        f"1\t3\t.\tG\tA\t.\tPASS\tPOPAF=7.3;TLOD=40\t{FORM}"
        "\t0/0:50,0:0.02:50:20,0:25,25,0,0\t0/1:75,25:0.25:100:40,12:40,35,12,13",
        f"1\t5\t.\tA\tT\t.\tgermline;weak_evidence\tPOPAF=2;TLOD=30\t{FORM}"
        "\t0/0:30,20:0.4:50:1,1:1,1,1,1\t0/1:50,50:0.5:100:1,1:1,1,1,1",
        f"1\t8\t.\tT\tC,G\t.\tPASS\tAS_FilterStatus=SITE,SITE;POPAF=7.3,7.3;TLOD=30,20\t{FORM}"
        "\t0/0:50,0,0:0.02,0.02:50:1,1,1:1,1,1,1\t0/1/2:70,20,10:0.2,0.1:100:1,1,1:1,1,1,1",
        # A deletion in a run of G, not left-aligned; phased with what is not shown here.
        f"1\t13\t.\tGG\tG\t.\tPASS\tPOPAF=7.3;TLOD=20\t{FORM}"
        "\t0|0:40,0:0.02:40:1,1:1,1,1,1\t0|1:60,20:0.25:80:1,1:1,1,1,1",
        f"1\t20\t.\tTA\tGC\t.\tPASS\tPOPAF=7.3;TLOD=20\t{FORM}"
        "\t0/0:40,0:0.02:40:1,1:1,1,1,1\t0/1:60,40:0.4:100:1,1:1,1,1,1",
    ]
    calls.write_text(MUTECT2 + "".join(f"{line}\n" for line in lines))
    # The command of rule annotate_somatic.
    subprocess.run(
        ["bcftools", "norm", "-f", genome, "-c", "e", "-m", "-any", "-Ob", "-o", split, calls],
        check=True,
        capture_output=True,
    )
    variants = read_somatic_calls(split, {"P1_tumour": "P1"})
    columns = ("position", "reference_allele", "alternate_allele")
    assert variants.select(*columns, "tumour_depth", "tumour_alternate_depth").rows() == [
        (3, "G", "A", 100, 25),
        (8, "T", "C", 100, 20),
        (8, "T", "G", 100, 10),
        (10, "CG", "C", 80, 20),
        (20, "TA", "GC", 100, 40),
    ]
    assert variants["allele_fraction"].to_list() == [0.25, 0.2, 0.1, 0.25, 0.4]
