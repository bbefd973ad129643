"""Presets, and the bands of what was withheld."""

from pathlib import Path
from typing import get_args

import acro
import pytest
import yaml
from pydantic import ValidationError

from ihdsi.bundle.manifest import DisclosureStatement
from ihdsi.disclosure import disclosure_summary
from ihdsi.disclosure.control import LOG_SCHEMA
from ihdsi.disclosure_terms import PRESETS, PresetName, WithheldBand, withheld_band
from ihdsi.study import DisclosureOverrides, DisclosureSettings, Study, study_hash
from ihdsi.yaml_documents import load_document

DEMO = Path(__file__).parents[3] / "config/studies/demo.yaml"


def test_every_preset_is_complete():
    assert set(PRESETS) == set(get_args(PresetName))
    for preset in PRESETS.values():
        assert set(preset.values) == set(PRESETS["ihdsi"].values)
        assert set(preset.counterparts) <= set(preset.values)
        assert preset.source


def test_the_first_preset_is_the_default():
    fields = DisclosureSettings.model_fields
    values = PRESETS["ihdsi"].values
    assert {name: fields[name].default for name in values} == dict(values)
    assert fields["preset"].default == "ihdsi"


def test_the_acro_preset_is_that_of_the_installed_package():
    installed = yaml.safe_load(Path(acro.__file__).with_name("default.yaml").read_text())
    preset = PRESETS["acro"]
    assert {option: installed[option] for option, _ in preset.counterparts.values()} == dict(
        preset.counterparts.values()
    )
    for name, (option, value) in preset.counterparts.items():
        assert preset.values[name] == (not value if option == "zeros_are_disclosive" else value)
    # Nothing of the package is passed over in silence.
    named = {option for option, _ in preset.counterparts.values()}
    assert set(installed) == named | set(preset.without_counterpart)
    assert installed["check_missing_values"] is False
    assert installed["survival_safe_threshold"] == installed["safe_threshold"]


def test_the_datashield_preset_has_the_counterparts_values():
    preset = PRESETS["datashield"]
    for name, (_, value) in preset.counterparts.items():
        assert preset.values[name] == value


def test_given_keys_replace_the_presets():
    settings = DisclosureSettings.model_validate({"preset": "acro", "minimum_cell_count": 7})
    assert (settings.minimum_cell_count, settings.minimum_n) == (7, 10)
    assert settings.maximum_parameter_share == 1.0
    overrides = DisclosureOverrides.model_validate({"preset": "acro", "minimum_n": 30})
    assert (overrides.minimum_n, overrides.minimum_cell_count) == (30, 10)
    assert DisclosureOverrides().minimum_n is None


@pytest.mark.parametrize("model", [DisclosureSettings, DisclosureOverrides])
def test_an_unknown_preset_is_refused(model):
    with pytest.raises(ValidationError, match="preset"):
        model.model_validate({"preset": "none"})
    with pytest.raises(ValidationError):
        model.model_validate({"preset": ["acro"]})


def test_the_study_hash_is_of_the_values_whatever_their_origin():
    study = load_document(DEMO, Study)
    document = study.model_dump()

    def hashed(disclosure):
        return study_hash(Study.model_validate({**document, "disclosure": disclosure}))

    assert hashed({"preset": "acro"}) == hashed(dict(PRESETS["acro"].values))
    assert hashed({"preset": "acro"}) != hashed({"preset": "datashield"})
    assert hashed({"preset": "acro", **PRESETS["ihdsi"].values}) == hashed({})


def test_the_statement_holds_values_and_no_preset():
    import polars as pl

    log = pl.DataFrame(
        [("gene_alterations", "minimum_n", "{}", "")] * 12, schema=LOG_SCHEMA, orient="row"
    )
    summary = disclosure_summary(log, DisclosureSettings(preset="acro"))
    statement = DisclosureStatement.model_validate(summary)
    assert statement.settings["minimum_cell_count"] == 10
    assert "preset" not in statement.settings
    assert statement.withheld == {"gene_alterations": {"minimum_n": "10 to 99"}}


@pytest.mark.parametrize(
    ("count", "band"),
    [
        (1, "1 to 9"),
        (9, "1 to 9"),
        (10, "10 to 99"),
        (99, "10 to 99"),
        (100, "100 to 999"),
        (999, "100 to 999"),
        (1000, "1,000 or more"),
        (10**9, "1,000 or more"),
    ],
)
def test_bands(count, band):
    assert withheld_band(count) == band
    assert band in get_args(WithheldBand)


def test_nothing_withheld_has_no_band():
    with pytest.raises(ValueError, match="no band"):
        withheld_band(0)


@pytest.mark.parametrize("band", [3, "3", "2 to 9", ""])
def test_a_statement_of_exact_numbers_is_refused(band):
    document = {"settings": {}, "withheld": {"gene_alterations": {"minimum_n": band}}}
    with pytest.raises(ValidationError):
        DisclosureStatement.model_validate(document)
