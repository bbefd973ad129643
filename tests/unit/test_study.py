"""The protocol is read strictly, and its hash moves with every threshold and nothing local."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from ihdsi.study import (
    Endpoint,
    LocalReference,
    QualityMetric,
    Site,
    Study,
    load_run,
    load_site,
    load_study,
    study_hash,
)

SITE = {
    "site": "alpha",
    "title": "Alpha",
    "country": "LU",
    "study": "tiny",
    "study_version": "1.0",
    "samples": "samples.tsv",
}
SURVIVAL = {"time": "survival_time", "event": "survival_event"}
STUDY_TEXT = """\
study: tiny
version: "1.0"
title: A tiny study
participants: [alpha]
reference: {name: b}
clinical:
  variables:
    sex: {type: categorical, levels: [female, male]}
    age: {type: number, unit: a}
disclosure:
  minimum_n: 10
"""


def numbers(node, place=()):
    """Places of all numbers and truth values below a node of a document."""
    if isinstance(node, dict):
        return [found for key, value in node.items() for found in numbers(value, (*place, key))]
    if isinstance(node, list):
        return [found for i, value in enumerate(node) for found in numbers(value, (*place, i))]
    return [place] if isinstance(node, bool | int | float) else []


def changed(study, place, change):
    document = study.model_dump(mode="json")
    node = document
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = change(node[place[-1]])
    return Study.model_validate(document)


def nudge(value):
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value + 0.001


def test_the_hash_changes_with_every_threshold(tiny_study):
    places = numbers(tiny_study.model_dump(mode="json"))
    assert {
        "disclosure.minimum_n",
        "disclosure.zero_cells_allowed",
        "disclosure.maximum_parameter_share",
        "variants.somatic.minimum_tumour_lod",
        "variants.germline.callable_depth",
        "meta.false_discovery_rate",
        "biomarkers.tiers.0.maximum_fdr",
        "clinical.variables.age.bins.1",
        "quality_control.mapped_percent.minimum",
    } <= {".".join(map(str, place)) for place in places}
    hashes = {place: study_hash(changed(tiny_study, place, nudge)) for place in places}
    assert [place for place in places if hashes[place] == study_hash(tiny_study)] == []
    assert len(set(hashes.values())) == len(places) > 35


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("version",), "1.1"),
        (("participants",), ["alpha", "beta", "gamma"]),
        (("reference", "name"), "build-2"),
        (("reference", "sha256", "genome"), "1" * 64),
        (("clinical", "variables", "age", "unit"), "mo"),
        (("clinical", "variables", "sex", "levels"), ["female", "male", "other"]),
        (("contrasts", "invasion", "covariates"), ["sex", "age"]),
        (("contrasts", "invasion", "label"), "in words"),
        (("endpoints", "survival", "covariates"), []),
        (("endpoints", "survival", "curve_bins"), [0, 365, 730]),
        (("strata",), []),
        (("meta", "model"), "fixed"),
        (("variants", "signatures", "signatures"), ["SBS1", "SBS2", "SBS5", "SBS13"]),
        (("variants", "signatures", "groups"), {"apobec": ["SBS2"]}),
        (("variants", "signatures", "opportunities"), "genome"),
        (("quality_control", "mapped_percent", "maximum"), 99),
    ],
    ids=lambda v: ".".join(v) if isinstance(v, tuple) else "",
)
def test_the_hash_changes_with_the_rest_of_the_protocol(tiny_study, place, value):
    assert study_hash(changed(tiny_study, place, lambda _: value)) != study_hash(tiny_study)


def turned(node):
    """The document with every mapping in reverse order."""
    if isinstance(node, dict):
        return {key: turned(value) for key, value in reversed(node.items())}
    return [turned(value) for value in node] if isinstance(node, list) else node


def test_the_hash_does_not_see_the_order_of_keys(study_document, write_yaml):
    plain = load_study(write_yaml(study_document, "a.yaml"))
    reverse = load_study(write_yaml(turned(study_document), "b.yaml"))
    assert list(plain.clinical.variables) == list(reversed(reverse.clinical.variables))
    assert study_hash(plain) == study_hash(reverse)


def test_the_hash_does_not_see_written_out_defaults_or_decimals(study_document):
    study = Study.model_validate(study_document)
    study_document["disclosure"]["maximum_parameter_share"] = 0.2
    study_document["clinical"]["variables"]["age"]["minimum"] = 18.0
    assert study_hash(Study.model_validate(study_document)) == study_hash(study)


def test_the_hash_does_not_see_local_paths(study_document, write_yaml):
    bare = load_study(write_yaml(study_document, "bare.yaml"))
    study_document["reference"] |= {"genome": "a/genome.fa", "targets": "a/targets.bed"}
    path = write_yaml(study_document, "study.yaml")
    one = load_study(path)
    other = load_study(
        path, LocalReference(genome="/elsewhere/genome.fa", gene_catalogue="genes.tsv")
    )
    assert one.reference.genome == "a/genome.fa"
    assert other.reference.paths == {
        "genome": "/elsewhere/genome.fa",
        "targets": "a/targets.bed",
        "gene_catalogue": "genes.tsv",
    }
    assert study_hash(bare) == study_hash(one) == study_hash(other)


def test_the_hash_is_a_plain_sha256(tiny_study):
    digest = study_hash(tiny_study)
    assert len(digest) == 64
    assert set(digest) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("old", "new", "row", "column", "text"),
    [
        ("  minimum_n: 10", "  minimun_n: 10", 11, "disclosure.minimun_n", "not known"),
        ("  minimum_n: 10", "  minimum_n: 0", 11, "disclosure.minimum_n", "(given: 0)"),
        (
            "  minimum_n: 10",
            "  maximum_parameter_share: 1.5",
            11,
            "disclosure.maximum_parameter_share",
            "less than or equal to 1",
        ),
        ("title: A tiny study\n", "", 1, "title", "required key is missing"),
        ('version: "1.0"', "version: 1.0", 2, "version", "valid string"),
        ("study: tiny", "study: Tiny", 1, "study", "(given: 'Tiny')"),
        ("[alpha]", "[]", 4, "participants", "at least 1 item"),
        ("[alpha]", "[alpha, ../beta]", 4, "participants.1", "(given: '../beta')"),
        ("levels: [female, male]", "levels: [male]", 8, "clinical.variables.sex", "two levels"),
        ("[female, male]", "[male, male]", 8, "clinical.variables.sex", "a level occurs twice"),
        ("number, unit: a", "number", 9, "clinical.variables.age", "UCUM unit"),
        ("unit: a}", "unit: a, bins: [1, 1]}", 9, "clinical.variables.age", "bins must increase"),
        ("type: number", "type: numeric", 9, "clinical.variables.age.type", "'number'"),
        ("{name: b}", "{name: b, genome: ''}", 5, "reference.genome", "at least 1 character"),
        ("{name: b}", "{name: b, sha256: {genome: 12ab}}", 5, "reference.sha256.genome", "match"),
    ],
)
def test_faults_of_a_study_have_their_line_and_key(tmp_path, refused, old, new, row, column, text):
    path = tmp_path / "study.yaml"
    assert old in STUDY_TEXT
    path.write_text(STUDY_TEXT.replace(old, new))
    refused(lambda: load_study(path), file=path, row=row, column=column, text=text)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("strata", ["stage"], "strata names the clinical variable 'stage', which is not defined"),
        ("strata", ["age"], "strata needs a categorical variable; 'age' is a number"),
        ("participants", ["alpha", "alpha"], "a participant occurs twice"),
        ("simulation", None, "needs the key 'simulation'"),
        (
            "contrasts",
            {"c": {"variable": "sex", "case": "male", "control": "woman"}},
            "contrasts.c names the level 'woman', which 'sex' lacks",
        ),
        (
            "contrasts",
            {"c": {"variable": "sex", "case": "male", "control": "male"}},
            "contrasts.c compares 'male' with itself",
        ),
        (
            "contrasts",
            {"c": {"variable": "sex", "case": "male", "control": "female", "covariates": ["bmi"]}},
            "contrasts.c names the covariate 'bmi'",
        ),
        (
            "endpoints",
            {"e": {"time": "sex", "event": "survival_event"}},
            "endpoints.e.time must be a numeric",
        ),
        (
            "endpoints",
            {"e": {"time": "survival_time", "event": "sex"}},
            "endpoints.e names the level 'yes'",
        ),
        (
            "endpoints",
            {
                "e": SURVIVAL | {"curve_bins": [0, 365]},
                "f": SURVIVAL | {"curve_bins": [0, 300]},
            },
            "endpoints.e needs the curve_bins of the endpoint of the same times",
        ),
    ],
)
def test_parts_of_a_study_must_agree(study_document, write_yaml, refused, key, value, message):
    path = write_yaml(study_document | {"simulated": True, key: value}, "study.yaml")
    refused(lambda: load_study(path), file=path, row=1, column=None, text=message)


def test_times_have_one_set_of_edges(study_document):
    """A histogram with other edges than the curve would tell the patients between them."""
    endpoint = SURVIVAL | {"curve_bins": [0, 365]}
    document = study_document | {"endpoints": {"e": endpoint, "f": endpoint, "g": SURVIVAL}}
    assert Study.model_validate(document).endpoints["f"].curve_bins == (0, 365)
    document["clinical"]["variables"]["survival_time"]["bins"] = [0, 360]
    with pytest.raises(ValidationError, match="'survival_time' must not have bins"):
        Study.model_validate(document)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([0], "at least two edges"),
        ([30, 60], "must begin with 0"),
        ([0, 60, 60], "curve_bins must increase"),
    ],
)
def test_edges_of_a_curve(edges, message):
    with pytest.raises(ValidationError, match=message):
        Endpoint(time="t", event="e", curve_bins=edges)


def test_event_levels_need_no_quotation_marks(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY_TEXT.replace("[female, male]", "[no, yes]"))
    assert load_study(path).clinical.variables["sex"].levels == ("no", "yes")


def test_a_study_cannot_be_changed(tiny_study):
    with pytest.raises(ValidationError):
        tiny_study.version = "2"


def test_paths_know_the_environment(study_document, write_yaml, refused, monkeypatch):
    study_document["reference"]["genome"] = "${IHDSI_TEST_REFERENCES}/genome.fa"
    path = write_yaml(study_document, "study.yaml")
    monkeypatch.setenv("IHDSI_TEST_REFERENCES", "/refs")
    assert load_study(path).reference.genome == "/refs/genome.fa"
    monkeypatch.delenv("IHDSI_TEST_REFERENCES")
    row = path.read_text().splitlines().index("  genome: ${IHDSI_TEST_REFERENCES}/genome.fa") + 1
    refused(
        lambda: load_study(path),
        file=path,
        row=row,
        column="reference.genome",
        text="the environment variable IHDSI_TEST_REFERENCES is not set; export it",
    )


def test_a_good_site(tiny_study, write_yaml):
    site = load_site(write_yaml(SITE, "site.yaml"), tiny_study)
    assert (site.site, site.clinical, site.disclosure.minimum_n) == ("alpha", None, None)


@pytest.mark.parametrize(
    ("key", "value", "row", "text", "remedy"),
    [
        ("study_version", "0.9", 5, "agreed to version '0.9', the study file is version '1.0'", ""),
        ("study", "other", 4, "takes part in 'other', but the run is of 'tiny'", "config.yaml"),
        ("site", "gamma", 1, "'gamma' is not among the study's participants (alpha, beta)", ""),
        ("country", "Luxembourg", 3, "(given: 'Luxembourg')", "config/README.md"),
        ("site", "Alpha Hospital", 1, "(given: 'Alpha Hospital')", "config/README.md"),
        ("samples", "${IHDSI_TEST_NOWHERE}/s.tsv", 6, "IHDSI_TEST_NOWHERE is not set", ""),
    ],
)
def test_faults_of_a_site(
    tiny_study, write_yaml, refused, monkeypatch, key, value, row, text, remedy
):
    monkeypatch.delenv("IHDSI_TEST_NOWHERE", raising=False)
    path = write_yaml(SITE | {key: value}, "site.yaml")
    refused(
        lambda: load_site(path, tiny_study),
        file=path,
        row=row,
        column=key,
        text=text,
        remedy=remedy,
    )


@pytest.mark.parametrize("key", ["clinical", "codebook"])
def test_clinical_table_and_codebook_go_together(write_yaml, refused, key):
    path = write_yaml(SITE | {key: "file"}, "site.yaml")
    refused(lambda: load_site(path), file=path, row=1, column=None, text="go together")


def test_a_misspelt_threshold_of_a_site(write_yaml, refused):
    path = write_yaml(SITE | {"disclosure": {"minimum_count": 20}}, "site.yaml")
    refused(
        lambda: load_site(path),
        file=path,
        row=8,
        column="disclosure.minimum_count",
        text="not known",
    )


def test_a_site_without_a_study_is_only_read(write_yaml):
    assert load_site(write_yaml(SITE | {"study_version": "9"}, "s.yaml")) == Site(
        **(SITE | {"study_version": "9"})
    )


@pytest.mark.parametrize(
    ("config", "column", "text"),
    [
        ({"study": "s.yaml", "site": ["a"]}, "site", "not known"),
        ({"sites": []}, "study", "required key is missing"),
        ({"study": "s.yaml", "sites": "a.yaml"}, "sites", "valid tuple"),
        ({"study": "s.yaml", "reference": {"genom": "g"}}, "reference.genom", "not known"),
        ({"study": "s.yaml", "coordinator": "perhaps"}, "coordinator", "(given: 'perhaps')"),
    ],
)
def test_faults_of_a_run(refused, config, column, text):
    refused(
        lambda: load_run(config, "config/config.yaml"),
        file="config/config.yaml",
        row=None,
        column=column,
        text=text,
    )


def test_the_demo_is_read():
    root = Path(__file__).parents[2] / "config"
    study = load_study(root / "studies" / "demo.yaml")
    run = load_run(yaml.safe_load((root / "config.yaml").read_text()))
    assert {load_site(root.parent / path, study).site for path in run.sites} == set(
        study.participants
    )


@pytest.mark.parametrize(
    ("signatures", "message"),
    [
        ({"groups": {"apobec": ["SBS2", "SBS99"]}}, "groups.apobec names SBS99, which is not"),
        ({"groups": {"apobec": []}}, "groups.apobec must name signatures"),
        ({"groups": {"apobec": ["SBS2", "SBS2"]}}, "groups.apobec must name signatures, each once"),
        ({"signatures": ["SBS2", "SBS2"], "groups": {}}, "a signature is listed twice"),
        ({"signatures": [], "groups": {}}, "at least 1 item"),
        ({"signatures": ["APOBEC"], "groups": {}}, "should match pattern"),
        ({"groups": {"APOBEC": ["SBS2"]}}, "should match pattern"),
        ({"cosmic_version": "4"}, "Input should be"),
        ({"minimum_mutations": 0}, "greater than 0"),
    ],
)
def test_signatures_that_contradict_themselves(study_document, signatures, message):
    study_document["variants"] = {"signatures": signatures}
    with pytest.raises(ValueError, match=message):
        Study.model_validate(study_document)


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"minimum": 90, "warn_minimum": 80}, "minimum must not exceed warn_minimum"),
        ({"warn_maximum": 50, "maximum": 40}, "warn_maximum must not exceed maximum"),
        ({"minimum": 5, "maximum": 4}, "minimum must not exceed maximum"),
        ({"warn_minimum": 5, "warn_maximum": 4}, "warn_minimum must not exceed warn_maximum"),
    ],
)
def test_limits_of_a_metric_are_in_order(limits, text):
    with pytest.raises(ValueError, match=text):
        QualityMetric(assay="dna", unit="1", bins=(0, 1), **limits)


def test_equal_limits_and_none_are_in_order():
    assert QualityMetric(assay="dna", unit="1", bins=(0, 1), minimum=3, warn_minimum=3).warns
    assert not QualityMetric(assay="dna", unit="1", bins=(0, 1), maximum=0).warns


@pytest.mark.parametrize(
    ("sex", "text"),
    [
        ({"variable": "gender"}, "names the clinical variable 'gender', which is not defined"),
        ({"variable": "age"}, "needs a categorical variable"),
        ({"female": "woman"}, "names the level 'woman', which 'sex' lacks"),
    ],
)
def test_the_variable_of_the_sex_check_exists(study_document, sex, text):
    named = {"variable": "sex", "female": "female", "male": "male"}
    study_document["sample_checks"] = {"sex": named}
    assert Study.model_validate(study_document).sample_checks.sex.female == "female"
    study_document["sample_checks"] = {"sex": named | sex}
    with pytest.raises(ValueError, match=text):
        Study.model_validate(study_document)
