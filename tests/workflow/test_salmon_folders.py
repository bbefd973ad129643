"""Folders that salmon wrote elsewhere, as nf-core/rnaseq leaves them, run to judged gene counts."""

import gzip
import json

import numpy as np
import polars as pl
import pytest
import yaml

from ihdsi.expression.quality import read_quality_genes
from project_copy import PROJECT

pytestmark = pytest.mark.workflow

STUDY = {
    "study": "given_salmon",
    "version": "1",
    "title": "Salmon folders",
    "participants": ["here"],
    "reference": {"name": "r", "transcript_to_gene": "given/transcript_to_gene.tsv"},
    "clinical": {"variables": {"sex": {"type": "categorical", "levels": ["f", "m"]}}},
    "disclosure": {},
    "sample_checks": {"sex": {"variable": "sex", "female": "f", "male": "m"}},
    "quality_control": {
        name: {"assay": "rna", "unit": "1", "maximum": 0, "bins": [0, 1, 2]}
        for name in ("expressed_sex_discordance", "strandedness_discordance")
    },
    "expression": {"minimum_genes": 1, "subtypes": []},
}
N = 12


def test_given_folders_are_summed_judged_and_scored(project):
    folder = project.root / "given"
    folder.mkdir()
    genes = read_quality_genes(PROJECT / "resources/expression_quality_genes.tsv")
    ids = [
        *genes["female"],
        *genes["male"],
        "ENSG00000186081",
        *(f"ENSG9{n:010d}" for n in range(60)),
    ]
    transcripts = [(f"ENST9{n:010d}", gene) for n, gene in enumerate(ids)]
    lines = [f"{transcript}\t{gene}\t{gene}" for transcript, gene in transcripts]
    (folder / "transcript_to_gene.tsv").write_text(
        "\n".join(["transcript_id\tgene_id\tgene_name", *lines]) + "\n"
    )
    rng = np.random.default_rng(1)
    reads = rng.gamma(2, 100, (len(ids), N)).round(3)
    female = np.arange(N) % 2 == 0
    reads[0], reads[1:5] = female * 200.0, ~female * 150.0
    reads[:, 3] = 0  # a failed library
    sheet, clinical = ["patient\tsample\ttissue\tassay\tsalmon"], ["patient\tsex"]
    for number in range(N):
        name = f"P{number:02d}"
        output = folder / "salmon" / f"{name}-R"
        (output / "aux_info").mkdir(parents=True)
        (output / "aux_info/meta_info.json").write_text(
            json.dumps({"percent_mapped": 91.0, "num_processed": 9000})
        )
        strands = {"ISF": 500, "ISR": 510} if number == 5 else {"ISR": 2000, "ISF": 30}
        (output / "lib_format_counts.json").write_text(json.dumps(strands))
        rows = [
            f"{transcript}.{1 + number % 2}\t900\t700\t1\t{value}"
            for (transcript, _), value in zip(transcripts, reads[:, number], strict=True)
        ]
        text = "\n".join(["Name\tLength\tEffectiveLength\tTPM\tNumReads", *rows]) + "\n"
        if number == 7:
            with gzip.open(output / "quant.sf.gz", "wt") as target:
                target.write(text)
        else:
            (output / "quant.sf").write_text(text)
        sheet.append(f"{name}\t{name}-R\ttumour\trna\tgiven/salmon/{name}-R")
        # One patient is recorded as what expression does not show.
        recorded = "f" if female[number] != (number == 4) else "m"
        clinical.append(f"{name}\t{recorded}")
    (folder / "samples.tsv").write_text("\n".join(sheet) + "\n")
    (folder / "clinical.tsv").write_text("\n".join(clinical) + "\n")
    codebook = {
        "patient": "patient",
        "variables": {"sex": {"column": "sex", "values": {"f": "f", "m": "m"}}},
    }
    site = {
        "site": "here",
        "title": "Here",
        "country": "LU",
        "study": "given_salmon",
        "study_version": "1",
        "samples": "given/samples.tsv",
        "clinical": "given/clinical.tsv",
        "codebook": "given/codebook.yaml",
    }
    run = {"study": "given/study.yaml", "sites": ["given/site.yaml"]}
    for file, document in (
        ("study.yaml", STUDY),
        ("codebook.yaml", codebook),
        ("site.yaml", site),
        ("run.yaml", run),
    ):
        (folder / file).write_text(yaml.safe_dump(document))
    results = "results/given_salmon/sites/here"
    project.run(
        *(
            f"{results}/quality_control/sample_decisions.parquet",
            f"{results}/summaries/cohort_profile.parquet",
            f"{results}/cleared/cohort_profile.parquet",
        ),
        *("--configfile", "given/run.yaml", "--cores", "2"),
    )
    counts = pl.read_parquet(project.root / results / "expression/gene_counts.parquet")
    names = [f"P{number:02d}" for number in range(N)]
    expected = pl.DataFrame({"gene_id": ids} | dict(zip(names, reads.T, strict=True)))
    assert counts.drop("gene_name").equals(expected.sort("gene_id"))
    decisions = pl.read_parquet(
        project.root / results / "quality_control/sample_decisions.parquet"
    ).filter(decision="fail")
    reasons = dict(decisions.select("patient", "reasons").iter_rows())
    assert set(reasons) == {"P03", "P04", "P05"}
    assert "library size" in reasons["P03"]
    assert "recorded as m, expression shows f" in reasons["P04"]
    assert "unstranded, most are reverse" in reasons["P05"]
    profile = pl.read_parquet(project.root / results / "summaries/cohort_profile.parquet")
    scored = profile.filter(variable="signature_basal", stratum="all")
    assert scored["n_total"].to_list() == [N - 3]
    assert profile.filter(variable="molecular_subtype").is_empty()
    # Nine scored patients are fewer than ten; the sex of twelve is known, six of each.
    cleared = pl.read_parquet(project.root / results / "cleared/cohort_profile.parquet")
    assert set(cleared["variable"]) == {"sex"}
    populations = pl.read_parquet(project.root / results / "cleared/populations.parquet")
    counted = populations.filter(population="clinical:signature_basal")["patient"]
    assert set(counted) == set(names) - set(reasons)
