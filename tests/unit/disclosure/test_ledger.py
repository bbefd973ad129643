"""The ledger keeps every decision, names nobody, and says in words what is wrong with its file."""

import hashlib
import hmac
import os
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace

import polars as pl
import pytest

from ihdsi.bundle import write_bundle
from ihdsi.disclosure.ledger import Ledger, LedgerRejection, LedgerRelease, archive_folder
from ihdsi.errors import InputError
from ihdsi.files import sha256_of
from ihdsi.summaries import TABLES, empty_table

POPULATIONS = pl.DataFrame(
    {
        "population": ["tumours", "tumours", "tumours", "germline"],
        "stratum_variable": ["all", "sex", "sex", "all"],
        "stratum": ["all", "female", "male", "all"],
        "patient": ["LIH-0001", "LIH-0001", "LIH-0002", "LIH-0003"],
    }
)


def release(sequence=1, **changes):
    return LedgerRelease(
        **{
            "sequence": sequence,
            "study": "demo",
            "site": "north",
            "study_hash": "ab" * 32,
            "manifest_sha256": hashlib.sha256(b"manifest %d" % sequence).hexdigest(),
            "content_sha256": hashlib.sha256(b"content %d" % sequence).hexdigest(),
            "bundle_sha256": "cd" * 32,
            "seal_sha256": "ef" * 32,
            "state": "approved",
            "decided_at": f"2026-06-{sequence:02}T12:00:00Z",
            "steward": "Dr Marie Weber",
            "steward_key": "ed25519:AAAA",
            "reason": "looked at every table",
            "override": None,
            "membership_power": 0.08,
            "epsilon": 0.0,
            "statement": b"signed",
        }
        | changes
    )


def rejection(number=1, **changes):
    return LedgerRejection(
        **{
            "manifest_sha256": hashlib.sha256(b"rejected %d" % number).hexdigest(),
            "content_sha256": hashlib.sha256(b"content %d" % number).hexdigest(),
            "decided_at": f"2026-06-{number:02}T18:00:00Z",
            "steward": "Dr Marie Weber",
            "steward_key": "ed25519:AAAA",
            "reason": "a rare subtype is recognisable",
            "statement": b"signed",
        }
        | changes
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


def published(ledger, *sequences, **changes):
    for sequence in sequences:
        ledger.record_release(release(sequence, **changes), POPULATIONS)
        ledger.mark_published(sequence)


def test_a_new_ledger_is_private_and_empty(path):
    old = os.umask(0)
    try:
        with Ledger(path) as ledger:
            assert ledger.releases() == ledger.rejections() == ledger.earlier_manifests() == []
            assert ledger.next_sequence() == 1
            assert ledger.last_published() is ledger.last_release() is None
            assert ledger.spent_epsilon() == 0
            assert ledger.describe().is_empty()
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_entered_is_found_again(path):
    second = release(2, override="agreed with the board", membership_power=0.2, epsilon=0.5)
    with Ledger(path) as ledger:
        published(ledger, 1, epsilon=0.25)
        ledger.record_release(second, POPULATIONS.head(1))
    with Ledger(path) as ledger:
        assert ledger.releases() == [release(1, state="published", epsilon=0.25), second]
        assert ledger.last_release() == second
        assert ledger.last_published() == release(1, state="published", epsilon=0.25)
        assert ledger.next_sequence() == 3
        assert ledger.earlier_manifests() == [
            release(1).manifest_sha256,
            release(2).manifest_sha256,
        ]
        assert ledger.spent_epsilon() == 0.75
        assert ledger.archive(2) == path.parent / "ledger.releases" / "2"
        ledger.mark_published(2)
        ledger.mark_published(2)
        assert ledger.last_published() == replace(second, state="published")


def test_patients_are_hashed_with_the_ledgers_secret(path, tmp_path):
    with Ledger(path) as ledger:
        published(ledger, 1)
        found = ledger.populations(1)
        expected = ledger.hash_patients(POPULATIONS)
        names = ["population", "stratum_variable", "stratum", "patient_hash"]
        assert found.columns == [*names, "value_hash"]
        assert found.select(names).equals(expected.sort(names))
        assert found["value_hash"].null_count() == found.height
        assert found["patient_hash"].n_unique() == 3
    # Independently of the class: the file itself and the standard library.
    secret = sqlite3.connect(path).execute("SELECT value FROM meta WHERE key='secret'").fetchone()
    assert expected["patient_hash"][2] == hmac.new(secret[0], b"LIH-0002", "sha256").hexdigest()
    assert b"LIH-000" not in path.read_bytes()
    with Ledger(tmp_path / "other.sqlite") as other:
        assert set(other.hash_patients(POPULATIONS)["patient_hash"]).isdisjoint(
            expected["patient_hash"]
        )


def test_hashes_stand_beside_the_other_columns_of_any_frame(path):
    frame = pl.DataFrame({"a": [1, 2, 3], "patient": ["x", None, "x"], "b": [4, 5, 6]})
    with Ledger(path) as ledger:
        found = ledger.hash_patients(frame)
        assert found.columns == ["a", "patient_hash", "b"]
        assert found["patient_hash"][0] == found["patient_hash"][2]
        assert found["patient_hash"][1] is None
        assert ledger.hash_patients(frame.clear()).schema["patient_hash"] == pl.String


@pytest.mark.parametrize(
    "populations",
    [
        POPULATIONS.drop("stratum"),
        POPULATIONS.rename({"patient": "patient_hash"}),
        POPULATIONS.with_columns(patient=pl.lit(None, pl.String)),
        POPULATIONS.with_columns(patient=pl.lit("")),
        POPULATIONS.with_columns(stratum=pl.lit(None, pl.String)),
    ],
)
def test_populations_that_say_too_little_are_refused_and_nothing_is_entered(path, populations):
    with Ledger(path) as ledger:
        with pytest.raises(InputError, match="populations"):
            ledger.record_release(release(1), populations)
        assert ledger.releases() == []


def test_a_patient_named_twice_counts_once(path):
    with Ledger(path) as ledger:
        ledger.record_release(release(1), pl.concat([POPULATIONS, POPULATIONS]))
        assert ledger.populations(1).height == POPULATIONS.height
        assert ledger.describe()["patients"].to_list() == [3]


@pytest.mark.parametrize(
    ("second", "match"),
    [
        (release(1, manifest_sha256="11" * 32), "does not follow"),
        (release(3), "does not follow"),
        (release(2, state="published"), "does not follow"),
        (release(2, study="other"), "ledger of its own"),
        (release(2, site="south"), "ledger of its own"),
        (release(2, manifest_sha256=release(1).manifest_sha256), "refuses"),
        (release(2, reason=""), "refuses"),
        (release(2, manifest_sha256="X" * 64), "refuses"),
        (release(2, epsilon=-1.0), "refuses"),
    ],
)
def test_a_release_that_does_not_fit_is_refused_whole(path, second, match):
    with Ledger(path) as ledger:
        published(ledger, 1)
        with pytest.raises(InputError, match=match):
            ledger.record_release(second, POPULATIONS)
        assert ledger.releases() == [release(1, state="published")]
        published(ledger, 2)


def test_nothing_follows_a_release_that_is_not_published(path):
    with Ledger(path) as ledger:
        ledger.record_release(release(1), POPULATIONS)
        with pytest.raises(InputError, match="not published yet"):
            ledger.record_release(release(2), POPULATIONS)


def test_rejections(path):
    with Ledger(path) as ledger:
        published(ledger, 1)
        ledger.record_rejection(rejection(1))
        assert ledger.rejection(rejection(1).manifest_sha256) == rejection(1)
        assert ledger.rejection(release(1).manifest_sha256) is None
        with pytest.raises(InputError, match="rejected already"):
            ledger.record_rejection(rejection(1))
        with pytest.raises(InputError, match="released already"):
            ledger.record_rejection(rejection(2, manifest_sha256=release(1).manifest_sha256))
        assert ledger.rejections() == [rejection(1)]
        assert ledger.next_sequence() == 2


def test_the_history_lists_all_decisions_by_time(path):
    with Ledger(path) as ledger:
        published(ledger, 1)
        ledger.record_rejection(rejection(1))
        ledger.record_release(release(2, override="agreed"), POPULATIONS.head(1))
        found = ledger.describe()
    assert found["decision"].to_list() == ["published", "rejected", "approved"]
    assert found["sequence"].to_list() == [1, None, 2]
    assert found["override"].to_list() == [None, None, "agreed"]
    assert found["patients"].to_list() == [3, None, 1]
    assert found["decided_at"].is_sorted()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM releases",
        "DELETE FROM rejections",
        "DELETE FROM patients",
        "DELETE FROM meta",
        "UPDATE releases SET reason = 'another'",
        "UPDATE releases SET state = 'approved'",
        "UPDATE releases SET override = 'later'",
        "UPDATE releases SET state = 'published', epsilon = 0",
        "UPDATE rejections SET reason = 'another'",
        "UPDATE patients SET stratum = 'another'",
        "UPDATE meta SET value = x'00'",
    ],
)
def test_a_decision_is_never_changed(path, statement):
    with Ledger(path) as ledger:
        published(ledger, 1)
        ledger.record_release(release(2, epsilon=0.5), POPULATIONS)
        ledger.record_rejection(rejection(1))
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="never changed"):
        connection.execute(statement)
    connection.close()


def test_an_aborted_transaction_leaves_nothing(path):
    with Ledger(path) as ledger:
        with pytest.raises(KeyboardInterrupt), ledger.transaction():
            ledger.record_release(release(1), POPULATIONS)
            raise KeyboardInterrupt
        assert ledger.releases() == []
        published(ledger, 1)


def test_a_process_that_ends_in_the_middle_leaves_nothing(path):
    # More than SQLite's cache of 2 MB, so that the file itself was changed when the process ends.
    script = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from test_ledger import *
many = POPULATIONS.head(1).join(pl.DataFrame({{"n": range(60_000)}}), how="cross")
many = many.with_columns(patient=pl.col("patient") + pl.col("n").cast(pl.String)).drop("n")
with Ledger({str(path)!r}) as ledger:
    with ledger.transaction():
        ledger.record_release(release(1), many)
        os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert path.stat().st_size > 1_000_000
    with Ledger(path) as ledger:
        assert ledger.releases() == []
        published(ledger, 1)


def test_a_ledger_in_use_says_so_and_is_still_read(path):
    with Ledger(path) as ledger, ledger.transaction():
        with Ledger(path, timeout=0.01) as other:
            assert other.releases() == []
            with pytest.raises(InputError, match="another process is working with the ledger"):
                other.record_release(release(1), POPULATIONS)
        ledger.record_release(release(1), POPULATIONS)
    with Ledger(path) as ledger:
        assert ledger.releases() == [release(1)]


def test_a_ledger_of_a_newer_version_is_left_alone(path):
    with Ledger(path) as ledger:
        published(ledger, 1)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match="newer version of the pipeline"), Ledger(path):
        pass
    assert path.read_bytes() == before


def test_values_are_kept_under_the_key_and_with_the_patient(path):
    valued = POPULATIONS.with_columns(value=pl.Series(["aa" * 32, None, "aa" * 32, "bb" * 32]))
    with Ledger(path) as ledger:
        ledger.record_release(release(1), valued)
        found = ledger.populations(1)
        hashed = ledger.hash_patients(valued)
        assert found.equals(hashed.sort(hashed.columns))
        assert hashed["value_hash"].is_null().to_list() == [False, True, False, False]
        # Two patients of equal values do not show.
        assert hashed["value_hash"].drop_nulls().n_unique() == 3
    assert b"aa" * 32 not in path.read_bytes()


def test_a_ledger_of_before_there_were_values_goes_on(path):
    with Ledger(path) as ledger:
        published(ledger, 1)
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE patients DROP COLUMN value_hash")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    with Ledger(path) as ledger:
        assert ledger.populations(1)["value_hash"].null_count() == POPULATIONS.height
        valued = POPULATIONS.with_columns(value=pl.lit("aa" * 32))
        ledger.record_release(release(2), valued)
        assert ledger.populations(2)["value_hash"].null_count() == 0


def test_another_database_is_no_ledger(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE releases (x)")
    connection.close()
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(InputError, match="no ledger"), Ledger(path):
        pass
    assert path.read_bytes() == before


def overwrite(content, start, size=2000):
    return content[:start] + b"\xff" * size + content[start + size :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"not a database at all, but long enough for its header" * 10,
        lambda content: content[: len(content) // 2],
        lambda content: overwrite(content, 4096),
        lambda content: overwrite(content, len(content) - 4096),
        lambda content: content.replace(release(1).manifest_sha256.encode(), b"0" * 64, 1),
    ],
)
def test_a_damaged_ledger_is_left_alone(path, damage):
    with Ledger(path) as ledger:
        published(ledger, 1)
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with (
        pytest.raises(InputError, match=r"damaged.*Restore it from its backup"),
        Ledger(path) as ledger,
    ):
        ledger.describe()
    assert path.read_bytes() == before


@pytest.mark.parametrize("lose", [os.unlink, lambda path: os.truncate(path, 0)])
def test_a_lost_ledger_is_not_begun_anew_beside_its_archive(path, lose):
    with Ledger(path) as ledger:
        published(ledger, 1)
        ledger.archive(1).mkdir(parents=True)
    lose(path)
    with pytest.raises(InputError, match="holds releases"), Ledger(path):
        pass


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_ledger_open_to_others_is_refused(path, mode):
    with Ledger(path):
        pass
    path.chmod(mode)
    with pytest.raises(InputError, match="open to others"), Ledger(path):
        pass


def test_a_path_that_cannot_be_one_is_refused_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "ledger.sqlite", tmp_path):
        with pytest.raises(InputError) as error, Ledger(path):
            pass
        assert error.value.problems[0].file == path


def archived(ledger, sequence):
    tables = {name: empty_table(name) for name in TABLES}
    folder = ledger.archive(sequence) / "bundle"
    disclosure = {"settings": {"minimum_n": 10}, "withheld": {}}
    write_bundle(
        folder,
        tables,
        disclosure,
        study="demo",
        study_version="1.0",
        study_hash="ab" * 32,
        site="north",
        workflow_version="0.1.0",
    )
    return folder, sha256_of(folder / "manifest.json")


def test_released_tables_come_from_the_archive_and_only_if_unchanged(path):
    with Ledger(path) as ledger:
        folder, manifest = archived(ledger, 1)
        published(ledger, 1, manifest_sha256=manifest)
        found = ledger.released_tables(1)
        assert set(found) == set(TABLES)
        with pytest.raises(InputError, match="no release 2"):
            ledger.released_tables(2)
        with pytest.raises(InputError, match="no release 2"):
            ledger.populations(2)
        table = folder / "tables" / f"{next(iter(TABLES))}.parquet"
        content = table.read_bytes()
        table.write_bytes(content[:-1] + b"?")
        with pytest.raises(InputError, match="SHA-256"):
            ledger.released_tables(1)
        table.write_bytes(content)
        manifest_file = folder / "manifest.json"
        manifest_file.write_text(manifest_file.read_text() + " ")
        with pytest.raises(InputError, match="does not hold what release 1 was"):
            ledger.released_tables(1)
        manifest_file.unlink()
        with pytest.raises(InputError, match="cannot be read"):
            ledger.released_tables(1)


def test_the_archive_is_named_after_the_ledger(tmp_path):
    assert archive_folder(tmp_path / "north.sqlite") == tmp_path / "north.releases"
    assert archive_folder("north") == archive_folder("north.db")
