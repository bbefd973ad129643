"""Small germline call sets for tests."""

import pysam

from ihdsi.study import GermlineFilters

SETTINGS = GermlineFilters()  # DP at least 10, GQ at least 20, callable from 20


def call_set(folder, *lines, samples=("N1",), name="germline.bcf", quality="Integer"):
    """Write a BCF of records from `record`; the chromosomes are 1, 2, X and MT."""
    header = (
        "##fileformat=VCFv4.2\n"
        + "".join(f"##contig=<ID={name},length=10000>\n" for name in ("1", "2", "X", "MT"))
        + '##FILTER=<ID=low,Description="Low">\n'
        '##INFO=<ID=END,Number=1,Type=Integer,Description="Last base">\n'
        '##INFO=<ID=BCSQ,Number=.,Type=String,Description="Consequence">\n'
        '##INFO=<ID=population_AF,Number=A,Type=Float,Description="Frequency">\n'
        '##INFO=<ID=CLNSIG,Number=.,Type=String,Description="Significance">\n'
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
        '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Depth">\n'
        f'##FORMAT=<ID=GQ,Number=1,Type={quality},Description="Genotype quality">\n'
    )
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + "\t".join(samples)
    plain = folder / "plain.vcf"
    plain.write_text(header + "\n".join([columns, *lines]) + "\n")
    path = folder / name
    with (
        pysam.VariantFile(str(plain)) as source,
        pysam.VariantFile(str(path), "wb", header=source.header) as target,
    ):
        for entry in source:
            target.write(entry)
    plain.unlink()
    return path


def record(position, *samples, chromosome="1", alleles="A\tG", status="PASS", info=".", keys="GT"):
    """One line of a VCF."""
    fields = (chromosome, position, ".", alleles, "50", status, info, keys, *samples)
    return "\t".join(map(str, fields))
