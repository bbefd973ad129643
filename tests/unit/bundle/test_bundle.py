"""A bundle opens only if nothing about it was changed."""

import json
import os

import polars as pl
import pytest

from ihdsi.bundle import content_sha256, open_bundle, workflow_commit, write_bundle
from ihdsi.errors import InputError
from ihdsi.files import sha256_of
from ihdsi.summaries import TABLES, empty_table

HASH = "ab" * 32
DISCLOSURE = {
    "settings": {"minimum_n": 10, "zero_cells_allowed": True, "maximum_parameter_share": 0.2},
    "withheld": {"gene_alterations": {"minimum_cell_count": "1 to 9"}},
}


def tables():
    burden = pl.DataFrame(
        {
            "measure": ["nonsynonymous_mutations"],
            "unit": ["1/Mb"],
            "stratum_variable": ["all"],
            "stratum": ["all"],
            "n": [40],
            "mean": [3.25],
            "variance": [1.5],
        }
    )
    return {name: empty_table(name) for name in TABLES} | {"mutation_burden": burden}


def write(folder, **changes):
    arguments = {
        "study": "demo",
        "study_version": "1.0",
        "study_hash": HASH,
        "site": "lih",
        "workflow_version": "0.1.0",
        "workflow_commit": "c" * 40,
    } | changes
    return write_bundle(folder, tables(), DISCLOSURE, **arguments)


@pytest.fixture
def bundle(tmp_path):
    write(tmp_path / "lih")
    return tmp_path / "lih"


def edit_manifest(bundle, change):
    document = json.loads((bundle / "manifest.json").read_text())
    change(document)
    (bundle / "manifest.json").write_text(json.dumps(document))


def refuse(bundle, match, study_hash=HASH, site="lih"):
    with pytest.raises(InputError, match=match) as caught:
        open_bundle(bundle, study_hash, site)
    assert caught.value.problems[0].file is not None


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_bundle_opens(bundle):
    opened = open_bundle(bundle, HASH, "lih")
    assert set(opened.tables) == set(TABLES)
    assert opened.tables["mutation_burden"].equals(tables()["mutation_burden"])
    assert opened.manifest.site == "lih"
    assert opened.manifest.created is None
    assert opened.disclosure == DISCLOSURE


def test_written_again_it_is_the_same_to_the_byte(bundle, tmp_path):
    before = contents(bundle)
    write(bundle)
    write(tmp_path / "elsewhere" / "lih")
    assert contents(bundle) == before
    assert contents(tmp_path / "elsewhere" / "lih") == before


EARLIER = ["1" * 64, "2" * 64]


def test_a_later_bundle_names_the_earlier_ones(tmp_path):
    write(tmp_path / "lih", sequence=3, earlier_manifests=EARLIER, created="2026-11-25T09:00:00Z")
    manifest = open_bundle(tmp_path / "lih", HASH, "lih").manifest
    assert (manifest.sequence, manifest.earlier_manifests) == (3, EARLIER)
    assert manifest.created == "2026-11-25T09:00:00Z"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"sequence": 0}, "greater than or equal to 1"),
        ({"sequence": 2}, "one hash for each earlier"),
        ({"sequence": 1, "earlier_manifests": EARLIER[:1]}, "one hash for each earlier"),
        ({"sequence": 3, "earlier_manifests": EARLIER[:1] * 2}, "a hash twice"),
        ({"sequence": 2, "earlier_manifests": ["x"]}, "pattern"),
        ({"sequence": True}, "valid integer"),
        ({"created": "2026-11-25"}, "pattern"),
        ({"created": "2026-11-25T09:00:00+01:00"}, "pattern"),
        ({"created": "2026-02-30T09:00:00Z"}, "day is out of range|day .* must be in range"),
        ({"created": "2026-11-25T09:00:00Z\n"}, "pattern"),
        ({"created": "२०२६-11-25T09:00:00Z"}, "pattern"),
        ({"site": "../lih"}, "pattern"),
        ({"study_version": "x" * 201}, "at most 200"),
    ],
)
def test_a_manifest_that_no_reader_accepts_is_not_written(bundle, changes, match):
    before = contents(bundle)
    with pytest.raises(InputError, match=match):
        write(bundle, **changes)
    assert contents(bundle) == before
    document = json.loads((bundle / "manifest.json").read_text()) | changes
    (bundle / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=match):
        open_bundle(bundle, HASH, "lih")


def test_as_many_earlier_manifests_as_can_be(tmp_path):
    hashes = [f"{number:064x}" for number in range(10_000)]
    write(tmp_path / "lih", sequence=10_001, earlier_manifests=hashes)
    assert open_bundle(tmp_path / "lih", HASH, "lih").manifest.earlier_manifests == hashes
    with pytest.raises(InputError, match=r"10001|10000"):
        write(tmp_path / "lih", sequence=10_002, earlier_manifests=[*hashes, "f" * 64])


def test_equal_content_is_what_tables_and_protocol_say(tmp_path):
    first = content_sha256(write(tmp_path / "a"))
    assert len(first) == 64
    for number, change in enumerate(
        (
            {"sequence": 2, "earlier_manifests": ["1" * 64]},
            {"created": "2026-11-25T09:00:00Z"},
            {"workflow_commit": None, "workflow_version": "9"},
            {"title": "Another title", "software": {"polars": "2"}},
            {"site": "ncck"},
        )
    ):
        assert content_sha256(write(tmp_path / f"same{number}", **change)) == first
    assert content_sha256(write(tmp_path / "b", study_hash="cd" * 32)) != first
    manifest = write(tmp_path / "c")
    for entry in manifest.files:
        changed = [
            e.model_copy(update={"sha256": "0" * 64}) if e.path == entry.path else e
            for e in manifest.files
        ]
        same = content_sha256(manifest.model_copy(update={"files": changed})) == first
        assert same == (entry.table is None)


def test_the_envelope_may_lie_beside_the_manifest_and_goes_with_it(bundle):
    (bundle / "manifest.dsse.json").write_text("signatures")
    open_bundle(bundle, HASH, "lih")
    write(bundle)
    assert not (bundle / "manifest.dsse.json").exists()


def test_the_manifest_must_be_the_signed_one_if_it_is_given(bundle):
    content = (bundle / "manifest.json").read_bytes()
    open_bundle(bundle, HASH, "lih", manifest_bytes=content)
    with pytest.raises(InputError, match="not the one that was signed"):
        open_bundle(bundle, HASH, "lih", manifest_bytes=content + b" ")


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"@context": 1, "@graph": {}}', '{"@graph": []}', "[" * 100_000, "\udcff"]
)
def test_a_crate_that_is_none(bundle, text):
    path = bundle / "ro-crate-metadata.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))

    def change(document):
        for entry in document["files"]:
            if entry["path"] == path.name:
                entry["sha256"], entry["size"] = sha256_of(path), path.stat().st_size

    edit_manifest(bundle, change)
    refuse(bundle, "JSON|Field required|valid dictionary|valid list|Extra inputs")


@pytest.mark.parametrize(
    "name",
    ["tables/mutation_burden.parquet", "disclosure.json", "ro-crate-metadata.json", "workflow.cwl"],
)
def test_a_flipped_byte(bundle, name):
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    refuse(bundle, "SHA-256")


def test_a_grown_file(bundle):
    with (bundle / "disclosure.json").open("a") as stream:
        stream.write(" ")
    refuse(bundle, "bytes")


@pytest.mark.parametrize("name", ["notes.txt", "tables/patients.parquet", ".hidden"])
def test_an_extra_file(bundle, name):
    (bundle / name).write_text("x")
    refuse(bundle, "no part of it")


def test_an_extra_folder(bundle):
    (bundle / "tables" / "deeper").mkdir()
    refuse(bundle, "folder that is no part of it")


def test_a_missing_table(bundle):
    (bundle / "tables" / "qc_profile.parquet").unlink()
    refuse(bundle, "lacks this file")


@pytest.mark.parametrize("name", ["tables/qc_profile.parquet", "manifest.json"])
def test_a_link(bundle, tmp_path, name):
    (bundle / name).rename(tmp_path / "target")
    (bundle / name).symlink_to(tmp_path / "target")
    refuse(bundle, "links are not allowed")


def test_a_linked_folder(bundle, tmp_path):
    (bundle / "tables").rename(tmp_path / "target")
    (bundle / "tables").symlink_to(tmp_path / "target")
    refuse(bundle, "links are not allowed")


def test_a_pipe(bundle):
    (bundle / "disclosure.json").unlink()
    os.mkfifo(bundle / "disclosure.json")
    refuse(bundle, "only regular files")


def test_no_bundle_at_all(tmp_path):
    refuse(tmp_path / "nowhere", "cannot be read")


def test_another_study_and_another_site(bundle):
    refuse(bundle, "another protocol", study_hash="cd" * 32)
    refuse(bundle, "bundle of site 'lih'", site="ncck")


def test_a_swapped_table_with_a_matching_hash(bundle):
    source, target = (bundle / "tables" / f"{n}.parquet" for n in ("qc_profile", "cohort_profile"))
    target.write_bytes(source.read_bytes())

    def change(document):
        for entry in document["files"]:
            if entry["path"] == "tables/cohort_profile.parquet":
                entry["sha256"], entry["size"] = sha256_of(target), target.stat().st_size

    edit_manifest(bundle, change)
    refuse(bundle, "expected 'cohort_profile'")


def test_a_table_that_breaks_the_contract_with_a_matching_hash(bundle):
    path = bundle / "tables" / "mutation_burden.parquet"
    tables()["mutation_burden"].with_columns(mean=pl.lit(-1.0)).write_parquet(
        path, metadata={"ihdsi.table": "mutation_burden", "ihdsi.table_version": "2"}
    )

    def change(document):
        for entry in document["files"]:
            if entry["path"] == "tables/mutation_burden.parquet":
                entry["sha256"], entry["size"] = sha256_of(path), path.stat().st_size

    edit_manifest(bundle, change)
    refuse(bundle, "below 0")


def as_version(bundle, listed, written, frame=None):
    """Replace mutation_burden by a file of version `written`, listed in the manifest as another."""
    path = bundle / "tables" / "mutation_burden.parquet"
    frame = tables()["mutation_burden"] if frame is None else frame
    frame.write_parquet(
        path, metadata={"ihdsi.table": "mutation_burden", "ihdsi.table_version": str(written)}
    )

    def change(document):
        for entry in document["files"]:
            if entry["table"] == "mutation_burden":
                entry["sha256"], entry["size"] = sha256_of(path), path.stat().st_size
                entry["table_version"] = listed

    edit_manifest(bundle, change)


def test_a_table_of_the_version_before_is_accepted_and_named(bundle):
    assert open_bundle(bundle, HASH, "lih").upgraded == ()
    as_version(bundle, 1, 1)
    opened = open_bundle(bundle, HASH, "lih")
    assert opened.upgraded == ("mutation_burden",)
    assert opened.tables["mutation_burden"].equals(tables()["mutation_burden"])


@pytest.mark.parametrize("version", [0, 3, None])
def test_other_versions_are_refused(bundle, version):
    as_version(bundle, version, version)
    refuse(bundle, "another table or version")


@pytest.mark.parametrize(("listed", "written"), [(1, 2), (2, 1)])
def test_a_file_of_another_version_than_the_manifest_says(bundle, listed, written):
    as_version(bundle, listed, written)
    refuse(bundle, f"version '{written}'; expected 'mutation_burden' version '{listed}'")


def test_the_version_before_is_held_to_its_own_contract(bundle):
    share = tables()["mutation_burden"].with_columns(measure=pl.lit("all_mutations"))
    as_version(bundle, 1, 1, share)
    refuse(bundle, "not among nonsynonymous_mutations")


def test_more_rows_than_the_manifest_says(bundle):
    def change(document):
        for entry in document["files"]:
            if entry["table"] == "mutation_burden":
                entry["rows"] = 0

    edit_manifest(bundle, change)
    refuse(bundle, "more than the 0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format="ihdsi-bundle-9"), "format"),
        (lambda d: d.update(signature="forged"), "Extra inputs"),
        (lambda d: d.pop("study"), "Field required"),
        (lambda d: d["files"].pop(), "not those of the contract"),
        (lambda d: d["files"].append(d["files"][0] | {"path": "manifest.dsse.json"}), "not those"),
        (lambda d: d["files"].append(d["files"][0]), "not those of the contract"),
        (lambda d: d["files"][1].update(path="../../etc/passwd"), "not those of the contract"),
        (lambda d: d["files"][1].update(size="12"), "valid integer"),
        (lambda d: d["files"][1].update(size=2**40), "at most"),
        (lambda d: d["files"][1].update(table="qc_profile_2"), "another table"),
        (lambda d: d["files"][1].update(rows=10**12), "impossible"),
    ],
)
def test_a_manifest_that_lies(bundle, change, message):
    edit_manifest(bundle, change)
    refuse(bundle, message)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"site": NaN}', '{"a": 1, "a": 2}', "[" * 100_000, "\udcff", '"x"'],
    ids=["empty", "list", "broken", "nan", "twice", "deep", "not utf-8", "string"],
)
def test_a_manifest_that_is_none(bundle, text):
    (bundle / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refuse(bundle, r"JSON|valid dictionary")


def test_a_huge_manifest_is_not_parsed(bundle):
    (bundle / "manifest.json").write_bytes(b" " * (2**20 + 1))
    refuse(bundle, "at most 1048576")


def test_writing_refuses_foreign_files_and_missing_tables(bundle, tmp_path):
    (bundle / "patients.tsv").write_text("secret")
    with pytest.raises(InputError, match=r"patients\.tsv"):
        write(bundle)
    some = tables()
    some.pop("qc_profile")
    with pytest.raises(InputError, match="qc_profile"):
        write_bundle(
            tmp_path / "new",
            some,
            DISCLOSURE,
            study="demo",
            study_version="1",
            study_hash=HASH,
            site="lih",
            workflow_version="0",
        )
    assert not (tmp_path / "new").exists()


def test_an_interrupted_bundle_does_not_open(bundle, monkeypatch):
    from ihdsi.bundle import write as module

    monkeypatch.setattr(module, "sha256_of", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(bundle)
    refuse(bundle, "lacks this file")


def test_the_commit_of_a_folder_outside_git_is_unknown(tmp_path):
    assert workflow_commit(tmp_path) is None
