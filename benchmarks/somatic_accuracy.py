"""How well somatic variants are found, by allele fraction and depth, against bcftools call.

Tumours and normals are simulated on the demo's genome: several hundred substitutions and small
indels a tumour at allele fractions from 3 % to 40 %, reads by ART, sequencing depth 100, 150 and
300 (``--quick``: 150 only). Ours is the workflow from FASTQ to somatic_variants.parquet. The
reference is ``bcftools mpileup | bcftools call`` on the same two alignments, taking what the tumour
carries and the normal does not: what one gets without a somatic model. Both are compared with the
truth, allele by allele. The table is what counts; the JSON's ratio is F1 over all variants planted
at 5 % and more, ours by the reference's, at depth 150. The genome is simulated and has no repeats
between genes, so the figures show what the filters lose, not what mapping errors add.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import yaml

from ihdsi.files import write_parquet, write_tsv
from ihdsi.simulate import reads
from ihdsi.simulate.cohort import SiteDesign
from ihdsi.simulate.copy_number import COPY_NUMBER_SCHEMA
from ihdsi.simulate.genome import (
    gene_list,
    read_gene_panel,
    simulate_genome,
    write_annotation,
    write_genome_fasta,
    write_targets,
)
from ihdsi.simulate.recovery import VARIANT
from ihdsi.simulate.streams import stream
from ihdsi.simulate.variants import SomaticModel, simulate_germline, simulate_population
from ihdsi.variants.regions import read_targets, within_targets

PROJECT = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "config", "envs", "resources", "scripts", "src", "workflow")
SEED = 7
#: Planted allele fractions, one nested clone each.
FRACTIONS = (0.40, 0.30, 0.20, 0.15, 0.10, 0.0875, 0.075, 0.0625, 0.05, 0.03)
N_VARIANTS = 600
INDEL_SHARE = 0.3
SPACING = 20
BANDS = ((0.0, 0.05), (0.05, 0.075), (0.075, 0.10), (0.10, 0.20), (0.20, 1.0))
STUDY = {
    "study": "somatic_accuracy",
    "version": "1",
    "title": "Accuracy of somatic calling on simulated tumours",
    "participants": ["bench"],
    "reference": {
        "name": "simulated",
        "genome": "input/genome.fa",
        "annotation": "input/annotation.gff3",
        "targets": "input/targets.bed",
    },
    "clinical": {"variables": {}},
    "disclosure": {},
}


def plant(seed: int, patient: str, model: SomaticModel) -> pl.DataFrame:
    """Draw the somatic variants of one tumour, the same number at every fraction."""
    rng = stream(seed, "accuracy", patient)
    n_indels = round(N_VARIANTS * INDEL_SHARE)
    substitutions = rng.choice(len(model.position), size=4 * N_VARIANTS, replace=False)
    anchors, lengths, inserted = model.draw_indels(rng, 4 * n_indels)
    table = pl.concat(
        [
            _as_table(
                model, anchors, lengths, inserted, np.zeros(len(anchors), dtype=np.uint8)
            ).with_columns(kind=pl.lit("indel")),
            _as_table(
                model,
                model.position[substitutions],
                np.zeros(len(substitutions), dtype=np.int64),
                np.zeros((len(substitutions), 12), dtype=np.uint8),
                model.alternate[substitutions],
            ).with_columns(kind=pl.lit("snv")),
        ]
    )
    spaced = table.with_columns(cell=pl.col("global_position") // (2 * SPACING)).filter(
        # One variant in every second cell, so that two are never close to each other.
        (pl.col("cell") % 2 == 0) & pl.int_range(pl.len()).over("cell").eq(0)
    )
    chosen = pl.concat(
        [
            spaced.filter(pl.col("kind") == kind).head(n)
            for kind, n in (("snv", N_VARIANTS - n_indels), ("indel", n_indels))
        ]
    )
    clone = np.arange(chosen.height) % len(FRACTIONS)
    return chosen.with_columns(
        patient=pl.lit(patient),
        clone=pl.Series(clone),
        allele_fraction=pl.Series(np.array(FRACTIONS)[clone]),
        haplotype=pl.Series(rng.integers(0, 2, size=chosen.height)),
    ).drop("cell", "global_position")


def _as_table(model, anchors, lengths, inserted, alternates) -> pl.DataFrame:
    from ihdsi.simulate.variants import _alleles

    reference, alternate = _alleles(model.genome.bases, anchors, lengths, inserted, alternates)
    chromosome, local = model.genome.chromosome_position(anchors)
    return pl.DataFrame(
        {
            "chromosome": pl.Series(chromosome, dtype=pl.String),
            "position": local + 1,
            "reference_allele": reference,
            "alternate_allele": alternate,
            "global_position": anchors,
        }
    )


def prepare(root: Path, depths: list[int]) -> pl.DataFrame:
    """Write reference, truth, FASTQ, sheet and configuration; return the planted variants."""
    for part in PARTS:
        source = PROJECT / part
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / part)
    (root / "profiles").symlink_to("workflow/profiles")
    folder, truth = root / "input", root / "input/truth"
    genes = gene_list(read_gene_panel(PROJECT / "resources/bladder_gene_panel.tsv"))
    genome = simulate_genome(SEED, genes)
    write_genome_fasta(genome, folder / "genome.fa")
    write_annotation(genome, folder / "annotation.gff3")
    write_targets(genome, folder / "targets.bed")
    names = {f"D{depth:03d}": depth for depth in depths}
    site = SiteDesign("bench", "D", 0, 0, frozenset(), 1.0)
    population = simulate_population(SEED, genome, [site])
    patients = pl.DataFrame(
        {"patient": list(names), "site": "bench", "sex": "female", "tumour_purity": 1.0}
    )
    genotypes = simulate_germline(SEED, patients, population)
    model = SomaticModel(SEED, genome, population)
    somatic = pl.concat([plant(SEED, patient, model) for patient in names]).with_columns(
        cell_fraction=2 * pl.col("allele_fraction")
    )
    germline = pl.concat(
        population.select("chromosome", "position", "reference_allele", "alternate_allele")
        .with_columns(
            patient=pl.lit(patient),
            haplotype_1=pl.Series(genotypes[row][:, 0]),
            haplotype_2=pl.Series(genotypes[row][:, 1]),
        )
        .filter(pl.col("haplotype_1") | pl.col("haplotype_2"))
        for row, patient in enumerate(names)
    )
    write_parquet(patients, truth / "patients.parquet")
    write_parquet(germline, truth / "germline.parquet")
    write_parquet(somatic, truth / "somatic.parquet")
    write_parquet(pl.DataFrame(schema=COPY_NUMBER_SCHEMA), truth / "copy_number.parquet")
    rows = []
    for patient, depth in names.items():
        reads.TUMOUR_DNA_DEPTH, reads.NORMAL_DNA_DEPTH = float(depth), min(float(depth), 100.0)
        for kind, tissue in (("T", "tumour"), ("N", "normal")):
            files = [f"input/fastq/{patient}-{kind}_R{mate}.fastq.gz" for mate in (1, 2)]
            reads.simulate_sample_reads(
                SEED,
                f"{patient}-{kind}",
                "L001",
                ("L001",),
                genome=folder / "genome.fa",
                targets=folder / "targets.bed",
                truth=truth,
                fastq_1=root / files[0],
                fastq_2=root / files[1],
            )
            rows.append((patient, f"{patient}-{kind}", tissue, "dna", *files))
    columns = ["patient", "sample", "tissue", "assay", "fastq_1", "fastq_2"]
    write_tsv(pl.DataFrame(rows, schema=columns, orient="row"), root / "input/samples.tsv")
    for name, document in (
        ("study", STUDY),
        (
            "site",
            {
                "site": "bench",
                "title": "Bench",
                "country": "LU",
                "study": STUDY["study"],
                "study_version": "1",
                "samples": "input/samples.tsv",
            },
        ),
        ("config", {"study": "input/study.yaml", "sites": ["input/site.yaml"]}),
    ):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document))
    return somatic


def ours(root: Path, cores: int) -> pl.DataFrame:
    """Run the workflow and read what passes."""
    target = f"results/{STUDY['study']}/sites/bench/variants/somatic_variants.parquet"
    subprocess.run(
        [
            Path(sys.executable).with_name("snakemake"),
            *("--configfile", "input/config.yaml", "--cores", str(cores), target),
        ],
        cwd=root,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        stdout=subprocess.DEVNULL,
        stderr=(root / "snakemake.log").open("w"),
    )
    return pl.read_parquet(root / target).unique(VARIANT)


def reference(root: Path, patients: list[str]) -> pl.DataFrame:
    """Take what bcftools call finds in the tumour and not in the normal."""
    folder = root / f"results/{STUDY['study']}/sites/bench/alignment"
    frames = []
    for patient in patients:
        tumour, normal = (next(folder.glob(f"{patient}-{kind}.*bam")) for kind in "TN")
        text = subprocess.run(
            f"bcftools mpileup --ignore-RG -f input/genome.fa -R input/targets.bed --min-MQ 20"
            f" --min-BQ 20 --max-depth 4000 -Ou {tumour} {normal}"
            " | bcftools call -mv -Ou | bcftools norm -m -any -f input/genome.fa -Ou"
            ' | bcftools view -i \'QUAL>=20 && GT[0]="alt" && GT[1]="ref"\' -Ou'
            " | bcftools query -f '%CHROM\\t%POS\\t%REF\\t%ALT\\n'",
            shell=True,
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        calls = [line.split("\t") for line in text.splitlines()]
        frames.append(
            pl.DataFrame(calls, schema=list(VARIANT[1:]), orient="row").select(
                patient=pl.lit(patient),
                chromosome="chromosome",
                position=pl.col("position").cast(pl.Int64),
                reference_allele="reference_allele",
                alternate_allele="alternate_allele",
            )
        )
    return pl.concat(frames).unique()


def score(truth: pl.DataFrame, called: pl.DataFrame, megabases: float) -> dict[str, float]:
    """Recall by band, false calls a megabase, F1 of variants planted at 5 % and more."""
    result: dict[str, float] = {}
    for kind in ("snv", "indel"):
        for low, high in BANDS:
            planted = truth.filter(
                (pl.col("kind") == kind) & pl.col("allele_fraction").is_between(low, high, "left")
            )
            found = planted.join(called, on=VARIANT, how="semi").height
            result[f"{kind} recall {low:.3g}–{high:.3g}"] = found / planted.height
    false = called.join(truth, on=VARIANT, how="anti").height
    clear = truth.filter(pl.col("allele_fraction") >= 0.05)
    found = clear.join(called, on=VARIANT, how="semi").height
    precision = found / (found + false) if found + false else 0.0
    recall = found / clear.height
    total = precision + recall
    return result | {
        "false calls per Mb": false / megabases,
        "precision": precision,
        "F1 from 5 %": 2 * precision * recall / total if total else 0.0,
    }


def main() -> None:
    """Simulate, call, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="depth 150 only")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    depths = [150] if options.quick else [100, 150, 300]
    with tempfile.TemporaryDirectory(prefix="somatic-accuracy-") as name:
        root = Path(name)
        truth = prepare(root, depths)
        targets = read_targets(root / "input/targets.bed")
        megabases = targets.select((pl.col("end") - pl.col("start")).sum()).item() / 1e6
        found = within_targets(ours(root, options.cores), targets)
        naive = within_targets(reference(root, truth["patient"].unique().to_list()), targets)
    scores = {}
    for depth in depths:
        own = pl.col("patient") == f"D{depth:03d}"
        for label, calls in (("ours", found), ("bcftools", naive)):
            scores[f"{label} {depth}×"] = score(truth.filter(own), calls.filter(own), megabases)
    names = list(next(iter(scores.values())))
    print(f"{'':24}" + "".join(f"{label:>15}" for label in scores))
    for row in names:
        print(f"{row:24}" + "".join(f"{values[row]:15.3f}" for values in scores.values()))
    mine, theirs = (scores[f"{label} 150×"]["F1 from 5 %"] for label in ("ours", "bcftools"))
    print(
        json.dumps(
            {
                "name": "somatic_accuracy",
                "ours": mine,
                "reference": theirs,
                "unit": "F1 of variants planted at 5 % and more, depth 150",
                "ratio": mine / theirs if theirs else None,
                "reference_is": "bcftools mpileup | bcftools call, carried by the tumour alone",
                "false_per_megabase": scores["ours 150×"]["false calls per Mb"],
            }
        )
    )


if __name__ == "__main__":
    main()
