"""The steward's page tells what the candidate holds, whatever its texts are."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from itertools import chain, pairwise

import polars as pl
import pytest

from ihdsi.bundle import open_bundle, write_bundle
from ihdsi.bundle.keys import public_key_text
from ihdsi.bundle.manifest import content_sha256
from ihdsi.disclosure import disclosure_summary
from ihdsi.disclosure.control import LOG_SCHEMA
from ihdsi.errors import InputError
from ihdsi.files import sha256_of
from ihdsi.report import review
from ihdsi.report.candidate_review import review_request
from ihdsi.report.markup import script_json, visible
from ihdsi.report.review import PLAIN_WORDS, ReviewRequest, write_review
from ihdsi.report.withheld_rows import withheld_rows
from ihdsi.simulate.practice_keys import create_practice_keys
from ihdsi.study import DisclosureSettings, Site, load_study
from ihdsi.summaries import TABLES
from project_copy import PROJECT

STUDY_HASH = "ab" * 32
HOSTILE = """</script><script>alert("x")</script>'&amp;<!--\u202egnp"""


def _alterations(n_genes, **columns):
    number = pl.int_range(n_genes, eager=True)
    return pl.DataFrame(
        {
            "gene_id": "ENSG" + number.cast(pl.String).str.zfill(11),
            "gene_name": "G" + number.cast(pl.String),
            "coding_length": 1000 + number,
            "alteration_class": "any",
            "stratum_variable": "all",
            "stratum": "all",
            "n_assessed": 50,
            "n_altered": 7 + number % 30,
        }
        | columns,
        schema=TABLES["gene_alterations"].schema,
    )


def _tables(**given):
    return {name: pl.DataFrame(schema=spec.schema) for name, spec in TABLES.items()} | given


LOG = pl.DataFrame(
    [
        (
            "gene_alterations",
            "minimum_cell_count",
            json.dumps(
                {"gene_id": f"ENSG9000000000{number}", "alteration_class": "any"}
                | {"stratum_variable": "all", "stratum": "all"},
                separators=(",", ":"),
            ),
            "a count, or what remains of its total, is below minimum_cell_count",
        )
        for number in range(3)
    ],
    schema=LOG_SCHEMA,
    orient="row",
)


def _request(folder, tables=None, log=LOG, sequence=1, **changes):
    settings = DisclosureSettings()
    write_bundle(
        folder / "candidate",
        tables if tables is not None else _tables(gene_alterations=_alterations(60)),
        disclosure_summary(log, settings),
        study="demo",
        study_version="1.0",
        study_hash=STUDY_HASH,
        site="lih",
        sequence=sequence,
        earlier_manifests=[f"{number:064x}" for number in range(1, sequence)],
        workflow_version="1.2.3",
        workflow_commit="c0" * 20,
        created="2026-11-25T09:00:00Z",
    )
    request = ReviewRequest(
        study="demo",
        title="Markers of bladder cancer",
        study_version="1.0",
        study_hash=STUDY_HASH,
        simulated=False,
        site="lih",
        site_title="Luxembourg Institute of Health",
        recipients=("National Cancer Centre",),
        candidate=folder / "candidate",
        disclosure_log=log,
        study_thresholds=settings,
        thresholds=settings,
    )
    return replace(request, **changes)


class _Reader(HTMLParser):
    """Text by element, tables as rows of text, attributes, and the contents of scripts."""

    def __init__(self):
        super().__init__()
        self.words, self.tables, self.scripts, self.styles = [], [], [], []
        self.attributes, self.tags, self.policy = [], [], ""
        self._inside, self._cell = "", False

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self._inside = tag
        if tag == "meta" and dict(attributes).get("http-equiv"):
            self.policy = dict(attributes)["content"]
        if tag == "script":
            self.scripts.append([dict(attributes), ""])
        elif tag == "style":
            self.styles.append("")
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        self._inside = ""
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1][1] += data
        elif self._inside == "style":
            self.styles[-1] += data
        else:
            self.words.append(data)
            if self._cell:
                self.tables[-1][-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def _read(path):
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def _rows(path):
    """Embedded rows of a page as a frame of plain values."""
    (text,) = [text for attributes, text in _read(path).scripts if attributes.get("id") == "rows"]
    return {
        c["name"]: c["values"]
        if "values" in c
        else [None if k is None else c["levels"][k] for k in c["codes"]]
        for c in json.loads(text)
    }


def _table(reader, head):
    """Body rows of the table whose heading has this cell, by first cell."""
    (found,) = [table for table in reader.tables if head in table[0]]
    return {row[0]: dict(zip(found[0], row, strict=True)) for row in found[1:]}


def test_numbers_are_those_of_the_tables(tmp_path):
    request = _request(tmp_path, permit="Ethics 2026/041", participants=("Site B",))
    write_review(tmp_path / "review", request)
    page = _read(tmp_path / "review" / "index.html")
    row = _table(page, "What a row tells")["gene_alterations"]
    assert row["Rows that leave"] == "60"
    assert row["Rows withheld"] == "3"
    assert _table(page, "What a row tells")["qc_profile"]["Rows that leave"] == "none"
    for words in (
        "60 rows in 1 table",
        "3 rows were withheld",
        "Ethics 2026/041",
        "Site B",
        "National Cancer Centre",
        STUDY_HASH,
        "ihdsi 1.2.3",
        "c0" * 20,
        "2026-11-25T09:00:00Z",
        "The smallest count above zero that leaves is 7; 5 is the least allowed.",
        'ihdsi release approve lih --key YOUR_KEY --reason "WHY" --manifest ',
        'ihdsi release reject lih --key YOUR_KEY --reason "WHY" --manifest ',
    ):
        assert words in page.text
    assert "--override" not in page.text
    assert page.text.count(sha256_of(request.candidate / "manifest.json")) == 4
    embedded = _rows(tmp_path / "review" / "table-gene_alterations.html")
    assert embedded == _alterations(60).to_dict(as_series=False)
    assert "Simulated data" not in page.text
    write_review(tmp_path / "review", replace(request, simulated=True))
    assert "Simulated data" in _read(tmp_path / "review" / "index.html").text


def test_every_number_and_missing_value_survives_embedding(tmp_path):
    spec = TABLES["cohort_profile"]
    rows = [
        {"variable": "age", "kind": "moments", "n": 20, "n_total": 20, "mean": 1 / 3}
        | {"standard_deviation": 1e-12, "stratum_variable": "all", "stratum": "all"},
        {"variable": "sex", "kind": "count", "level": "male", "n": 11, "n_total": 20}
        | {"stratum_variable": "all", "stratum": "all"},
    ]
    profile = pl.DataFrame(rows, schema=spec.schema)
    moments = pl.DataFrame(
        [("c", "ENSG00000000001", "G", 20, ["x", HOSTILE], [0.1 + 0.2, -1e300], 2.0)],
        schema=TABLES["expression_moments"].schema,
        orient="row",
    )
    given = {"cohort_profile": profile, "expression_moments": moments}
    write_review(tmp_path / "review", _request(tmp_path, _tables(**given), log=LOG.clear()))
    for name, frame in given.items():
        found = _rows(tmp_path / "review" / f"table-{name}.html")
        assert found == frame.to_dict(as_series=False)
    assert "Disclosure control withheld nothing." in _read(tmp_path / "review/index.html").text


def test_withheld_rows_have_their_reason_with_the_threshold(tmp_path):
    request = _request(tmp_path, thresholds=DisclosureSettings(minimum_cell_count=6))
    write_review(tmp_path / "review", request)
    found = _rows(tmp_path / "review" / "withheld-gene_alterations.html")
    assert found["gene_id"] == [f"ENSG9000000000{number}" for number in range(3)]
    assert found["stratum"] == ["all"] * 3
    reason = "a count, or what remains of its total, is below minimum_cell_count (6)"
    assert found["reason"] == [reason] * 3
    assert set(found["outcome"]) == {"row withheld"}
    page = _read(tmp_path / "review" / "index.html")
    assert _table(page, "Reason")["gene_alterations"]["Rows"] == "3"
    thresholds = _table(page, "In force")
    assert thresholds["minimum_cell_count"]["Study"] == "5"
    assert thresholds["minimum_cell_count"]["In force"] == "6"
    assert thresholds["minimum_cell_count"]["Remark"] == "stricter at this site"
    assert thresholds["minimum_n"]["Remark"] == "as the study"


def test_the_page_shows_for_which_key_is_sealed(tmp_path):
    key = "x25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    for given, expected in ((key, key), (None, "Approval is not possible without it")):
        folder = tmp_path / str(given is None)
        folder.mkdir()
        write_review(folder / "review", _request(folder, recipient_key=given))
        words = " ".join(_read(folder / "review" / "index.html").words)
        assert expected in words
        assert (key in words) == (given is not None)


def test_the_key_is_that_of_the_trust_store(tmp_path):
    study = load_study(PROJECT / "config/studies/demo.yaml")
    store = create_practice_keys(tmp_path / "keys", ["lih"], date(2026, 6, 1))
    expected = public_key_text(tmp_path / "keys" / "coordinator" / "transport.pub")
    site = Site.model_construct(site="lih", title="A hospital", release=None)
    for path, found in ((store, expected), (tmp_path / "absent.yaml", None), (None, None)):
        trust_store = path and str(path)
        request = review_request(
            study.model_copy(update={"trust_store": trust_store}),
            site,
            tmp_path,
            LOG,
            date(2026, 6, 1),
        )
        assert request.recipient_key == found


def test_a_released_row_in_the_log_is_released_in_part(tmp_path):
    released = _alterations(60)
    keys = list(TABLES["gene_alterations"].keys)
    log = pl.concat(
        [
            LOG,
            released.head(2).select(
                table=pl.lit("gene_alterations"),
                rule=pl.lit("genotype_counts"),
                key=pl.struct(keys).struct.json_encode(),
                reason=pl.lit("stays without"),
            ),
        ]
    )
    write_review(tmp_path / "review", _request(tmp_path, log=log))
    row = _table(_read(tmp_path / "review" / "index.html"), "Released without some numbers")
    assert row["gene_alterations"]["Withheld"] == "3"
    assert row["gene_alterations"]["Released without some numbers"] == "2"
    assert row["gene_alterations"]["Rows that leave"] == "60"


def test_log_entries_that_name_no_row_are_remarks(tmp_path):
    remarks = [
        ("gene_alterations", "membership_power", '{"power":0.1,"n":null}', "because"),
        ("gene_alterations", "r", LOG["key"][0].replace("}", ',"more":1}'), "because"),
        ("gene_alterations", "r", "not JSON", "because"),
        ("<b>other</b>", "r", "not JSON", "because"),
    ]
    log = pl.concat([LOG, pl.DataFrame(remarks, schema=LOG_SCHEMA, orient="row")])
    write_review(tmp_path / "review", replace(_request(tmp_path), disclosure_log=log))
    found = _rows(tmp_path / "review" / "withheld-gene_alterations.html")
    assert found["key"] == [None] * 3 + [key for _, _, key, _ in remarks[:3]]
    assert found["gene_id"][:3] == [f"ENSG9000000000{number}" for number in range(3)]
    assert found["outcome"] == ["row withheld"] * 3 + ["remark on the table"] * 3
    (other,) = (tmp_path / "review").glob("withheld-x*.html")
    assert _rows(other)["key"] == ["not JSON"]
    page = _read(tmp_path / "review" / "index.html")
    assert "3 rows were withheld" in page.text
    assert _table(page, "Released without some numbers")["<b>other</b>"]["Withheld"] == "0"


def test_keys_of_another_type_are_remarks():
    spec = TABLES["variant_frequencies"]
    keys = dict.fromkeys(spec.keys, "x")
    log = pl.DataFrame(
        [("variant_frequencies", "r", json.dumps(keys, separators=(",", ":")), "because")] * 2,
        schema=LOG_SCHEMA,
        orient="row",
    )
    found = withheld_rows(log, _tables(), DisclosureSettings())["variant_frequencies"]
    assert found["outcome"].to_list() == ["remark on the table"] * 2
    assert found["key"].to_list() == log["key"].to_list()
    assert found["position"].to_list() == [None] * 2


def test_the_first_release_and_no_earlier_tables(tmp_path):
    request = _request(tmp_path)
    write_review(tmp_path / "review", request)
    page = _read(tmp_path / "review" / "index.html")
    assert "This is the first release" in page.text
    assert "this site has decided on no release" in page.text
    assert "Nothing to approve" not in page.text
    assert not list((tmp_path / "review").glob("changes-*"))
    write_review(tmp_path / "review", _request(tmp_path, sequence=2))
    page = _read(tmp_path / "review" / "index.html")
    assert "This is the first release" not in page.text
    assert "Ask why before you approve" in page.text


def test_an_unchanged_candidate_is_nothing_to_approve(tmp_path):
    tables = _tables(gene_alterations=_alterations(60))
    request = _request(tmp_path, tables, sequence=3, previous=tables)
    write_review(tmp_path / "review", request)
    page = _read(tmp_path / "review" / "index.html")
    assert "Nothing to approve: every table is the same as in release 2." in page.text
    assert "If you approve" not in page.text
    assert not list((tmp_path / "review").glob("changes-*"))


def test_equal_tables_under_another_statement_are_something_to_approve(tmp_path):
    tables = _tables(gene_alterations=_alterations(60))
    request = _request(tmp_path, tables, sequence=2, previous=tables)
    manifest = open_bundle(request.candidate, STUDY_HASH, "lih").manifest
    for content, expected in ((content_sha256(manifest), True), ("00" * 32, False)):
        write_review(tmp_path / "review", replace(request, last_content_sha256=content))
        text = _read(tmp_path / "review" / "index.html").text
        assert ("Nothing to approve" in text) == expected
        assert ("What differs is the statement" in text) != expected


def test_the_candidate_is_compared_with_the_ledger(tmp_path):
    request = _request(tmp_path, sequence=3)
    earlier = open_bundle(request.candidate, STUDY_HASH, "lih").manifest.earlier_manifests
    own = sha256_of(request.candidate / "manifest.json")

    def text(manifests, sequences):
        history = pl.DataFrame(
            {"sequence": sequences, "manifest_sha256": manifests},
            schema={"sequence": pl.Int64, "manifest_sha256": pl.String},
        )
        write_review(tmp_path / "review", replace(request, releases=history))
        return _read(tmp_path / "review" / "index.html").text

    fine = text([earlier[0], "ee" * 32, earlier[1]], [1, None, 2])
    assert "The candidate names the same earlier releases as the ledger." in fine
    assert "! look here" not in fine
    wrong = "! look here The candidate does not name the earlier releases"
    assert wrong in text(earlier[:1], [1])
    assert wrong in text(["ee" * 32, earlier[1]], [1, 2])
    rejected = text([*earlier, own], [1, 2, None])
    assert "! look here This very candidate was rejected before" in rejected
    assert wrong not in rejected


def test_every_file_that_leaves_can_be_read(tmp_path):
    request = _request(tmp_path)
    write_review(tmp_path / "review", request)
    page = _read(tmp_path / "review" / "index.html")
    files = [path for path in request.candidate.rglob("*") if path.is_file()]
    others = [path for path in files if path.suffix != ".parquet"]
    assert {path.name for path in others} >= {"manifest.json", "disclosure.json"}
    for path in others:
        assert path.name in page.text
        assert " ".join(path.read_text(encoding="utf-8").split()) in page.text
    assert len(files) - len(others) == len(TABLES)


def test_changes_are_counted_and_small_ones_pointed_out(tmp_path):
    now = _alterations(60)
    before = now.with_columns(
        n_altered=pl.when(pl.int_range(pl.len()) == 4).then(14).otherwise("n_altered")
    ).filter(pl.int_range(pl.len()) != 0)
    releases = pl.DataFrame(
        {"sequence": [1], "decided_at": ["2026-03-02"], "steward": ["A. Müller"]}
        | {"reason": [HOSTILE], "membership_power": [0.083], "epsilon": [None]},
        schema_overrides={"epsilon": pl.Float64},
    )
    request = _request(
        tmp_path, sequence=2, previous=_tables(gene_alterations=before), releases=releases
    )
    write_review(tmp_path / "review", request)
    page = _read(tmp_path / "review" / "index.html")
    row = _table(page, "The same")["gene_alterations"]
    assert [row[name] for name in ("Added", "Removed", "Changed", "The same")] == (
        ["1", "0", "1", "58"]
    )
    assert row["Smallest change of a count"] == "3"
    assert "changed least since the last release changed by 3" in page.text
    assert "! look here" in page.text
    assert "n_altered 14 → 11" in page.text
    history = _table(page, "By whom")["1"]
    assert history["By whom"] == "A. Müller"
    assert history["Why"] == visible(HOSTILE)
    assert history["Power of the membership test"] == "8.3 %"
    assert history["ε spent"] == "–"
    changes = _rows(tmp_path / "review" / "changes-gene_alterations.html")
    assert sorted(changes["change"]) == ["added", "changed"]
    # A later review of an unchanged candidate leaves no page of the earlier one behind.
    same = replace(request, previous=_tables(gene_alterations=now))
    write_review(tmp_path / "review", same)
    assert not list((tmp_path / "review").glob("changes-*"))


def test_what_is_below_a_threshold_asks_for_attention(tmp_path):
    tables = _tables(gene_alterations=_alterations(6, n_altered=[4, 0, 9, 9, 9, 9]))
    write_review(tmp_path / "review", _request(tmp_path, tables, log=LOG.clear()))
    text = _read(tmp_path / "review" / "index.html").text
    assert "! look here The smallest count above zero that leaves is 4" in text
    assert "! look here Zeros must not leave; 1 are in the tables." in text
    allowed = DisclosureSettings(zero_cells_allowed=True, minimum_cell_count=4)
    request = _request(tmp_path, tables, log=LOG.clear(), thresholds=allowed)
    write_review(tmp_path / "review", request)
    assert "! look here" not in _read(tmp_path / "review" / "index.html").text


def test_the_privacy_budget(tmp_path):
    membership = {"power_before": 0.621, "power_after": 0.12, "maximum_power": 0.1}
    membership |= {"n_frequencies": 1234, "another_figure": 0.5, "override": True}
    write_review(
        tmp_path / "review", _request(tmp_path, membership=membership, epsilon=(0.75, 1.25))
    )
    text = _read(tmp_path / "review" / "index.html").text
    assert "! look here The membership test would recognise 12 % of the patients" in text
    assert "Power if every frequency left 62.1 %" in text
    assert "Frequencies that leave 1,234" in text
    assert "another figure 0.5" in text
    assert '--reason "WHY" --override "WHY THE EXCEPTION"' in text
    assert "! look here The power allowed is larger than the study's" in text
    assert "ε spent, with this release 0.75" in text
    assert "ε remaining 1.25" in text


def test_earlier_releases_that_exceed_the_power_allowed_are_shown(tmp_path):
    membership = {"power_after": 0.12, "maximum_power": 0.1, "exceeded_before": True}
    write_review(tmp_path / "review", _request(tmp_path, membership=membership))
    text = _read(tmp_path / "review" / "index.html").text
    assert "! look here Earlier releases alone exceed the power allowed" in text
    assert "so that nothing new leaves yes" in text
    assert "--override" not in text


def _hostile(folder):
    tables = _tables(
        gene_alterations=_alterations(4, gene_name=[HOSTILE] * 4, stratum=[HOSTILE] * 4)
    )
    log = LOG.with_columns(rule=pl.lit(HOSTILE), reason=pl.lit(HOSTILE))
    return _request(
        folder,
        tables,
        log=LOG,
        title=HOSTILE,
        site_title=HOSTILE,
        recipients=(HOSTILE,),
        participants=(HOSTILE,),
        permit=HOSTILE,
        previous=_tables(gene_alterations=_alterations(4)),
        sequence=2,
        releases=pl.DataFrame({"sequence": [1], "steward": [HOSTILE]}),
        membership={HOSTILE: HOSTILE},
        disclosure_log=log,
    )


def test_hostile_texts_stay_texts(tmp_path):
    write_review(tmp_path / "review", _hostile(tmp_path))
    paths = sorted((tmp_path / "review").glob("*.html"))
    assert {path.name for path in paths} == {
        "index.html",
        "table-gene_alterations.html",
        "withheld-gene_alterations.html",
        "changes-gene_alterations.html",
    }
    for path in paths:
        page = _read(path)
        expected = [] if path.name == "index.html" else ["application/json", None]
        assert [script[0].get("type") for script in page.scripts] == expected
        assert "<script>alert" not in path.read_text(encoding="utf-8")
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        # The mark that turns the reading order is written out wherever a person reads it.
        assert "\u202e" not in page.text
    assert _rows(tmp_path / "review" / "table-gene_alterations.html")["gene_name"] == [HOSTILE] * 4
    assert html.unescape(visible(HOSTILE)) in html.unescape(
        _read(tmp_path / "review" / "index.html").text
    )


def test_pages_load_nothing_and_run_only_their_own_script(tmp_path):
    write_review(tmp_path / "review", _hostile(tmp_path))
    for path in (tmp_path / "review").glob("*.html"):
        page = _read(path)
        directives = dict(part.split(" ", 1) for part in page.policy.split("; "))
        assert directives["default-src"] == "'none'"
        assert set(directives) <= {
            "default-src", "style-src", "script-src", "base-uri", "form-action"
        }  # fmt: skip

        def source(text):
            digest = hashlib.sha256(text.encode()).digest()
            return f"'sha256-{base64.b64encode(digest).decode()}'"

        assert [directives["style-src"]] == [source(style) for style in page.styles]
        run = [source(text) for attributes, text in page.scripts if "type" not in attributes]
        assert ([directives["script-src"]] if "script-src" in directives else []) == run
        attributes = page.attributes
        assert not [value for name, value in attributes if name in ("src", "srcset", "style")]
        links = [value for name, value in attributes if name == "href"]
        assert all(link.startswith("#") or (path.parent / link).is_file() for link in links), links
        assert not {"link", "img", "iframe", "object", "form", "base"} & set(page.tags)


def test_headings_and_cells_are_marked_for_readers_of_the_screen(tmp_path):
    write_review(tmp_path / "review", _hostile(tmp_path))
    for path in (tmp_path / "review").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", text)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert not re.findall(r"<th(?![^>]*scope)[^>ea]*>", text)
        assert text.count("<caption>") == text.count("<table")
        for field in re.findall(r'<(?:input|select) id="([^"]+)"', text):
            assert f'<label for="{field}">' in text


def test_sixty_thousand_rows_are_one_page_of_bounded_size(tmp_path):
    rows = 60_000
    before = _tables(gene_alterations=_alterations(rows, n_altered=9))
    request = _request(
        tmp_path, _tables(gene_alterations=_alterations(rows)), sequence=2, previous=before
    )
    write_review(tmp_path / "review", request)
    path = tmp_path / "review" / "table-gene_alterations.html"
    assert path.stat().st_size < 60 * rows  # 8 columns, of which 5 repeat a few values
    found = _rows(path)
    assert len(found["gene_id"]) == rows
    assert found["n_altered"][-1] == 7 + (rows - 1) % 30
    # The first page holds no rows of the tables, only numbers of them.
    assert (tmp_path / "review" / "index.html").stat().st_size < 200_000
    assert "60,000 rows in 1 table" in _read(tmp_path / "review" / "index.html").text


def test_larger_tables_have_several_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(review, "ROWS_A_PAGE", 25)
    write_review(tmp_path / "review", _request(tmp_path))
    names = [f"table-gene_alterations{part}.html" for part in ("", "-2", "-3")]
    parts = [_rows(tmp_path / "review" / name)["gene_id"] for name in names]
    assert [len(part) for part in parts] == [25, 25, 10]
    assert list(chain(*parts)) == _alterations(60)["gene_id"].to_list()
    links = {value for name, value in _read(tmp_path / "review" / names[0]).attributes}
    assert set(names[1:]) <= links
    # Without need of them, they go.
    monkeypatch.setattr(review, "ROWS_A_PAGE", 100)
    write_review(tmp_path / "review", _request(tmp_path))
    assert not (tmp_path / "review" / names[1]).exists()


def test_a_candidate_of_another_site_is_refused_and_leaves_no_page(tmp_path):
    request = _request(tmp_path)
    with pytest.raises(InputError, match="site"):
        write_review(tmp_path / "review", replace(request, site="ncck"))
    assert not (tmp_path / "review" / "index.html").exists()


def test_every_table_of_the_contract_is_explained():
    assert set(TABLES) <= set(PLAIN_WORDS)


def test_embedded_data_cannot_end_a_script():
    text = script_json({"a": HOSTILE + "\u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": HOSTILE + "\u2028"}


def test_unseen_characters_are_written_out():
    assert visible("a\u200bb\u202ec\x00d\u00e9") == r"a\u{200b}b\u{202e}c\u{0000}dé"


def _in_browser(path, profile):
    """What a page is after its scripts ran."""
    answer = subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            "--virtual-time-budget=20000",
            f"--user-data-dir={profile}",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    page = _Reader()
    page.feed(answer)
    return page


needs_browser = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")


@needs_browser
def test_a_browser_runs_the_page_under_its_policy(tmp_path):
    write_review(tmp_path / "review", _hostile(tmp_path))
    page = _in_browser(tmp_path / "review" / "table-gene_alterations.html", tmp_path / "profile")
    assert "Rows 1 to 4 of 4 rows" in page.text
    body = page.tables[0][1:]
    assert [row[0] for row in body] == _alterations(4)["gene_id"].to_list()
    assert {row[1] for row in body} == {visible(HOSTILE)}
    assert len(page.scripts) == 2


@needs_browser
def test_rows_are_searched_sorted_and_paged(tmp_path):
    write_review(
        tmp_path / "review", _request(tmp_path, _tables(gene_alterations=_alterations(60_000)))
    )
    path = tmp_path / "review" / "table-gene_alterations.html"
    of = "of 60,000 rows"
    # What is done after the step before; counts shown; what the page says of them.
    steps = [
        ("click('next')", [7 + n % 30 for n in range(50, 100)], f"Rows 51 to 100 {of}"),
        ("press('n_altered')", [7] * 50, f"Rows 1 to 50 {of}"),
        ("click('last')", [36] * 50, f"Rows 59,951 to 60,000 {of}"),
        ("press('n_altered')", [36] * 50, f"Rows 1 to 50 {of}"),
        ("type('g59999')", [36], "Rows 1 to 1 of 1 rows found among 60,000"),
        ("type('nobody')", [], "No row of 60,000 holds all of these words"),
        (
            "press('gene_name'); type('all ANY g5999 ')",
            [7 + n % 30 for n in (5999, *range(59_990, 60_000))],
            "Rows 1 to 11 of 11 rows found among 60,000",
        ),
        ("type('')", [7 + n % 30 for n in range(50)], f"Rows 1 to 50 {of}"),
    ]
    # The policy would not let the script of this test run: it acts in a copy without one.
    acting = f"""<script>
    const press = (name) => [...document.querySelectorAll("#browser th button")]
      .find((button) => button.textContent === name).click();
    const click = (name) => document.getElementById(name).click();
    const type = (text) => {{
      document.getElementById("search").value = text;
      document.getElementById("search").dispatchEvent(new Event("input"));
    }};
    const steps = [{", ".join(f"() => {{ {step} }}" for step, _, _ in steps)}];
    const seen = [];
    const act = () => {{
      if (steps.length === 0) {{
        document.body.textContent = JSON.stringify(seen);
        return;
      }}
      steps.shift()();
      setTimeout(() => {{
        const rows = [...document.querySelectorAll("#browser tbody tr")];
        const counts = rows.map((row) => Number(row.lastElementChild.textContent));
        seen.push([counts, document.getElementById("status").textContent]);
        act();
      }}, 400);
    }};
    act();</script></body>"""
    text = re.sub(r"<meta http-equiv[^>]*>", "", path.read_text(encoding="utf-8"))
    copy = tmp_path / "copy.html"
    copy.write_text(text.replace("</body>", acting), encoding="utf-8")
    page = _in_browser(copy, tmp_path / "profile")
    seen = json.loads(page.text[page.text.index("[[") :])
    for (action, counts, status), (shown, said) in zip(steps, seen, strict=True):
        assert (action, shown, said) == (action, counts, status)


def test_only_a_looser_threshold_is_called_an_override():
    study = DisclosureSettings()
    site = study.model_copy(update={"minimum_n": 20, "maximum_membership_power": 0.3})
    assert review._remark(site, study, "minimum_n") == "stricter"
    assert review._remark(site, study, "maximum_membership_power") == "looser"
    assert review._remark(site, study, "minimum_cell_count") == ""


def test_the_commands_name_another_configuration_than_the_default():
    assert review._configfile_option(None) == ""
    assert review._configfile_option("config/config.yaml") == ""
    assert review._configfile_option("my site/run.yaml") == " --configfile 'my site/run.yaml'"
