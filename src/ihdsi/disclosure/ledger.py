"""The site's ledger: what was released when, by whom, about whom, and what was rejected.

One SQLite file a study and site, on a local disk: SQLite's locks do not hold on every network file
system. It answers three questions that no single release can: which number and predecessors the
next release has, whether its differences from earlier releases tell about single patients
(`Ledger.released_tables` and `Ledger.populations`), and how much of a privacy budget is spent.

What was approved lies beside it, for ``ledger.sqlite`` in ``ledger.releases/<sequence>/``. The
ledger holds no patient's name: only HMAC-SHA256 hashes (RFC 2104) under a random secret that the
ledger itself keeps, so that hashes of two sites, or of two ledgers, cannot be compared. Whoever has
the file can hash a list of names and compare; it is therefore private (mode 0600) and stays at the
site. Decisions are only ever added: the database itself refuses to change or delete them.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import polars as pl

from ihdsi.bundle.manifest import MANIFEST
from ihdsi.bundle.open import open_bundle
from ihdsi.errors import InputError, Problem
from ihdsi.files import sha256_of, sync_to_disk

__all__ = [
    "POPULATION_COLUMNS",
    "SCHEMA_VERSION",
    "Ledger",
    "LedgerRejection",
    "LedgerRelease",
    "archive_folder",
]

#: Version of the tables below, kept in the file as ``user_version``.
SCHEMA_VERSION = 2
#: Marks the file among other SQLite databases (``application_id``): "IHDS" in ASCII.
APPLICATION = 0x49484453
#: Columns of the patients of a release, before their names are hashed.
POPULATION_COLUMNS = ("population", "stratum_variable", "stratum", "patient")
#: What each patient is counted by (`ihdsi.disclosure.patient_values`), where it is known.
VALUE_COLUMN = "value"
_SECRET_BYTES = 32

_HEX = "CHECK (length({0}) = 64 AND {0} NOT GLOB '*[^0-9a-f]*')"
_STATEMENTS = (
    f"""
    CREATE TABLE releases (
        sequence INTEGER PRIMARY KEY CHECK (sequence >= 1),
        study TEXT NOT NULL,
        site TEXT NOT NULL,
        study_hash TEXT NOT NULL {_HEX.format("study_hash")},
        manifest_sha256 TEXT NOT NULL UNIQUE {_HEX.format("manifest_sha256")},
        content_sha256 TEXT NOT NULL {_HEX.format("content_sha256")},
        bundle_sha256 TEXT NOT NULL {_HEX.format("bundle_sha256")},
        seal_sha256 TEXT NOT NULL {_HEX.format("seal_sha256")},
        state TEXT NOT NULL CHECK (state IN ('approved', 'published')),
        decided_at TEXT NOT NULL,
        steward TEXT NOT NULL CHECK (length(steward) > 0),
        steward_key TEXT NOT NULL,
        reason TEXT NOT NULL CHECK (length(reason) > 0),
        override TEXT CHECK (length(override) > 0),
        membership_power REAL,
        epsilon REAL NOT NULL CHECK (epsilon >= 0),
        statement BLOB NOT NULL
    ) STRICT
    """,
    f"""
    CREATE TABLE rejections (
        manifest_sha256 TEXT PRIMARY KEY {_HEX.format("manifest_sha256")},
        content_sha256 TEXT NOT NULL {_HEX.format("content_sha256")},
        decided_at TEXT NOT NULL,
        steward TEXT NOT NULL CHECK (length(steward) > 0),
        steward_key TEXT NOT NULL,
        reason TEXT NOT NULL CHECK (length(reason) > 0),
        statement BLOB NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE patients (
        sequence INTEGER NOT NULL REFERENCES releases (sequence),
        population TEXT NOT NULL,
        stratum_variable TEXT NOT NULL,
        stratum TEXT NOT NULL,
        patient_hash BLOB NOT NULL CHECK (length(patient_hash) = 32),
        value_hash BLOB CHECK (length(value_hash) = 32),
        PRIMARY KEY (sequence, population, stratum_variable, stratum, patient_hash)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT",
    """
    CREATE TRIGGER releases_change_only_their_state BEFORE UPDATE ON releases
    WHEN old.state <> 'approved' OR new.state <> 'published'
        OR (old.sequence, old.study, old.site, old.study_hash, old.manifest_sha256,
            old.content_sha256, old.bundle_sha256, old.seal_sha256, old.decided_at, old.steward,
            old.steward_key, old.reason, old.override, old.membership_power, old.epsilon,
            old.statement)
        IS NOT (new.sequence, new.study, new.site, new.study_hash, new.manifest_sha256,
            new.content_sha256, new.bundle_sha256, new.seal_sha256, new.decided_at, new.steward,
            new.steward_key, new.reason, new.override, new.membership_power, new.epsilon,
            new.statement)
    BEGIN SELECT RAISE(ABORT, 'a decision is never changed'); END
    """,
    *(
        f"""
        CREATE TRIGGER {table}_{action.lower()} BEFORE {action} ON {table}
        BEGIN SELECT RAISE(ABORT, 'a decision is never changed'); END
        """
        for table, action in (
            ("releases", "DELETE"),
            ("rejections", "DELETE"),
            ("rejections", "UPDATE"),
            ("patients", "DELETE"),
            ("patients", "UPDATE"),
            ("meta", "DELETE"),
            ("meta", "UPDATE"),
        )
    ),
)


@dataclass(frozen=True)
class LedgerRelease:
    """One approved release.

    `decided_at` is ISO 8601 in UTC; hashes are hexadecimal SHA-256; `bundle_sha256` and
    `seal_sha256` are those of the two files for the coordinator; `membership_power` is the
    predicted power of membership inference, if the release states one, and `override` the reason
    why a power above the study's maximum was accepted; `epsilon` is what the release spends of a
    privacy budget; `statement` is the decision as the steward signed it (a DSSE envelope).
    """

    sequence: int
    study: str
    site: str
    study_hash: str
    manifest_sha256: str
    content_sha256: str
    bundle_sha256: str
    seal_sha256: str
    state: Literal["approved", "published"]
    decided_at: str
    steward: str
    steward_key: str
    reason: str
    override: str | None
    membership_power: float | None
    epsilon: float
    statement: bytes = field(repr=False)


@dataclass(frozen=True)
class LedgerRejection:
    """One rejected candidate; fields as in `LedgerRelease`."""

    manifest_sha256: str
    content_sha256: str
    decided_at: str
    steward: str
    steward_key: str
    reason: str
    statement: bytes = field(repr=False)


def archive_folder(ledger: Path | str) -> Path:
    """Folder of the approved releases that belongs to a ledger file."""
    path = Path(ledger)
    return path.with_name(f"{path.stem}.releases")


class Ledger:
    """An open ledger; a context manager. A file that does not exist is created.

    Parameters
    ----------
    path
        The SQLite file.
    timeout
        Seconds to wait for another process that is writing.

    Raises
    ------
    InputError
        If the file is open to others, is no ledger, is damaged, was written by a newer version, is
        in use for longer than `timeout`, or is missing or empty while its archive holds releases.
    """

    def __init__(self, path: Path | str, *, timeout: float = 30.0) -> None:
        self.path = Path(path)
        self._timeout = timeout
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Ledger:
        try:
            self._create_file()
            mode = stat.S_IMODE(self.path.stat().st_mode)
        except OSError as error:
            raise self._problem(
                f"the ledger cannot be opened ({error.strerror})",
                "Name a file in a folder that you may write to.",
            ) from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise self._problem(
                f"the ledger is open to others (mode {mode:04o})",
                f"Run chmod 600 {self.path}; it tells who is among the patients of a release.",
            )
        try:
            # mode=rw: SQLite itself never creates the file, whose mode would follow the umask.
            self._connection = sqlite3.connect(
                f"{self.path.resolve().as_uri()}?mode=rw",
                uri=True,
                timeout=self._timeout,
                isolation_level=None,
            )
        except sqlite3.Error as error:
            raise self._in_words(error) from None
        try:
            for setting in ("foreign_keys = ON", "synchronous = FULL", "trusted_schema = OFF"):
                self._execute(f"PRAGMA {setting}")
            self._check_version()
            self._check_pages()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; an open transaction is undone."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all other writers out; what the block writes is kept whole or not at all.

        A transaction inside another is part of it.
        """
        if self._open_connection().in_transaction:
            yield
            return
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._open_connection().rollback()
            raise

    def releases(self) -> list[LedgerRelease]:
        """Return all releases, approved and published, in the order of their numbers."""
        return [
            LedgerRelease(*row)
            for row in self._execute(f"SELECT {_RELEASE_COLUMNS} FROM releases ORDER BY sequence")
        ]

    def last_release(self) -> LedgerRelease | None:
        """Return the release with the largest number, whether it is published yet or not."""
        found = self._execute(
            f"SELECT {_RELEASE_COLUMNS} FROM releases ORDER BY sequence DESC LIMIT 1"
        )
        return LedgerRelease(*found[0]) if found else None

    def last_published(self) -> LedgerRelease | None:
        """Return the published release with the largest number."""
        found = self._execute(
            f"SELECT {_RELEASE_COLUMNS} FROM releases WHERE state = 'published' "
            "ORDER BY sequence DESC LIMIT 1"
        )
        return LedgerRelease(*found[0]) if found else None

    def next_sequence(self) -> int:
        """Return the number of the next release; the first has 1."""
        return int(self._execute("SELECT coalesce(max(sequence), 0) + 1 FROM releases")[0][0])

    def earlier_manifests(self) -> list[str]:
        """Return the SHA-256 of the manifest of every release, in the order of their numbers."""
        found = self._execute("SELECT manifest_sha256 FROM releases ORDER BY sequence")
        return [str(row[0]) for row in found]

    def rejections(self) -> list[LedgerRejection]:
        """Return all rejections in the order of their times."""
        return [
            LedgerRejection(*row)
            for row in self._execute(
                f"SELECT {_REJECTION_COLUMNS} FROM rejections ORDER BY decided_at, manifest_sha256"
            )
        ]

    def rejection(self, manifest_sha256: str) -> LedgerRejection | None:
        """Return the rejection of a candidate, if there is one."""
        found = self._execute(
            f"SELECT {_REJECTION_COLUMNS} FROM rejections WHERE manifest_sha256 = ?",
            (manifest_sha256,),
        )
        return LedgerRejection(*found[0]) if found else None

    def spent_epsilon(self) -> float:
        """Return the privacy budget that all releases together have spent (they add up)."""
        return float(self._execute("SELECT coalesce(sum(epsilon), 0.0) FROM releases")[0][0])

    def archive(self, sequence: int) -> Path:
        """Folder in which a release is kept; it is there for every release of the ledger."""
        return archive_folder(self.path) / str(sequence)

    def released_tables(self, sequence: int) -> dict[str, pl.DataFrame]:
        """Return the tables of a release from the archive.

        Returns
        -------
        dict
            Summary table by name, as `ihdsi.bundle.open_bundle` returns them.

        Raises
        ------
        InputError
            If there is no such release, or the archived files are not those that were released.
        """
        release = self._release(sequence)
        folder = self.archive(sequence) / "bundle"
        try:
            found = sha256_of(folder / MANIFEST)
        except OSError as error:
            raise self._archive_problem(
                folder / MANIFEST, f"the archive cannot be read ({error.strerror})"
            ) from None
        if found != release.manifest_sha256:
            raise self._archive_problem(
                folder / MANIFEST, f"the archive does not hold what release {sequence} was"
            )
        return open_bundle(folder, release.study_hash, release.site).tables

    def populations(self, sequence: int) -> pl.DataFrame:
        """Return whom a release counted, by stratum.

        Returns
        -------
        polars.DataFrame
            Columns population, stratum_variable, stratum, patient_hash and value_hash
            (hexadecimal), sorted; value_hash is null where a release did not record values.

        Raises
        ------
        InputError
            If there is no such release.
        """
        self._release(sequence)
        rows = self._execute(
            "SELECT population, stratum_variable, stratum, lower(hex(patient_hash)), "
            "CASE WHEN value_hash IS NULL THEN NULL ELSE lower(hex(value_hash)) END FROM patients "
            "WHERE sequence = ? ORDER BY 1, 2, 3, 4",
            (sequence,),
        )
        names = (*POPULATION_COLUMNS[:3], "patient_hash", "value_hash")
        return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")

    def hash_patients(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Replace ``patient`` (text) by ``patient_hash``, ``value`` by ``value_hash``, in place.

        Equal names have equal hashes in this ledger and other hashes in any other. Spelling counts:
        names are not trimmed or folded. Values are hashed together with the patient's name, so that
        patients with equal values do not show.
        """
        secret = bytes(self._execute("SELECT value FROM meta WHERE key = 'secret'")[0][0])
        hashed = frame.with_columns(pl.col("patient").cast(pl.String))
        if VALUE_COLUMN in frame.columns:
            texts = pl.concat_str("patient", pl.lit("\n"), VALUE_COLUMN)
            hashed = hashed.with_columns(texts.alias(VALUE_COLUMN)).with_columns(
                _keyed(VALUE_COLUMN, secret)
            )
        return hashed.with_columns(_keyed("patient", secret)).rename(
            {"patient": "patient_hash", VALUE_COLUMN: "value_hash"}, strict=False
        )

    def partner_key(self) -> bytes:
        """Return the secret order of cells (see `ihdsi.disclosure.partner_order`), 32 bytes.

        It is derived from the ledger's secret, and the same as long as the ledger exists.
        """
        secret = bytes(self._execute("SELECT value FROM meta WHERE key = 'secret'")[0][0])
        return hmac.digest(secret, b"\0order of complementary suppression", "sha256")

    def record_release(self, release: LedgerRelease, populations: pl.DataFrame) -> None:
        """Enter an approved release and the hashes of those whom it counted.

        Parameters
        ----------
        release
            Its number must be the next one, and its state ``approved``.
        populations
            Columns population, stratum_variable, stratum, patient: every patient in every stratum;
            ``value`` where it is known by what they are counted.

        Raises
        ------
        InputError
            If the number is not the next one, an earlier release is not published yet, the ledger
            belongs to another study or site, or `populations` has other columns or empty cells.
        """
        hashed = self.hash_patients(self._checked(populations))
        with self.transaction():
            last = self.last_release()
            if last is not None:
                if (last.study, last.site) != (release.study, release.site):
                    raise self._problem(
                        f"the ledger is that of study '{last.study}' at site '{last.site}', not of "
                        f"study '{release.study}' at site '{release.site}'",
                        "Every study and site has a ledger of its own; name another file.",
                    )
                if last.state != "published":
                    raise self._problem(
                        f"release {last.sequence} is approved and not published yet",
                        "Publish it first.",
                    )
            if release.sequence != self.next_sequence() or release.state != "approved":
                raise self._problem(
                    f"release {release.sequence} does not follow the ledger, whose next number is "
                    f"{self.next_sequence()}",
                    "Draft the release again.",
                )
            self._execute(
                f"INSERT INTO releases ({_RELEASE_COLUMNS}) "
                f"VALUES ({', '.join('?' * len(fields(LedgerRelease)))})",
                astuple(release),
            )
            self._execute_many(
                "INSERT INTO patients VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (
                        release.sequence,
                        *names,
                        bytes.fromhex(patient),
                        None if value is None else bytes.fromhex(value),
                    )
                    for *names, patient, value in hashed.unique().iter_rows()
                ),
            )

    def mark_published(self, sequence: int) -> None:
        """Say that the coordinator can fetch an approved release; a published one stays so."""
        with self.transaction():
            if self._release(sequence).state == "approved":
                self._execute(
                    "UPDATE releases SET state = 'published' WHERE sequence = ?", (sequence,)
                )

    def record_rejection(self, rejection: LedgerRejection) -> None:
        """Enter that a candidate is never to be released.

        Raises
        ------
        InputError
            If it was rejected or released before.
        """
        with self.transaction():
            if self.rejection(rejection.manifest_sha256) is not None:
                raise self._problem("this candidate was rejected already", "Draft another.")
            if rejection.manifest_sha256 in self.earlier_manifests():
                raise self._problem(
                    "this candidate was released already",
                    "A release cannot be called back; speak to the coordinator.",
                )
            self._execute(
                f"INSERT INTO rejections ({_REJECTION_COLUMNS}) "
                f"VALUES ({', '.join('?' * len(fields(LedgerRejection)))})",
                astuple(rejection),
            )

    def describe(self) -> pl.DataFrame:
        """Return all decisions in the order of their times.

        Returns
        -------
        polars.DataFrame
            Columns decision (approved, published or rejected), sequence, decided_at, steward,
            steward_key, reason, override, membership_power, epsilon, patients (number of different
            patients counted) and manifest_sha256; null where a rejection has no such thing.
        """
        rows = self._execute(
            """
            SELECT state, sequence, decided_at, steward, steward_key, reason, override,
                membership_power, epsilon,
                (SELECT count(DISTINCT patient_hash) FROM patients
                    WHERE patients.sequence = releases.sequence),
                manifest_sha256
            FROM releases
            UNION ALL
            SELECT 'rejected', NULL, decided_at, steward, steward_key, reason, NULL, NULL, NULL,
                NULL, manifest_sha256
            FROM rejections
            ORDER BY 3, 2
            """
        )
        schema = {
            "decision": pl.String,
            "sequence": pl.Int64,
            "decided_at": pl.String,
            "steward": pl.String,
            "steward_key": pl.String,
            "reason": pl.String,
            "override": pl.String,
            "membership_power": pl.Float64,
            "epsilon": pl.Float64,
            "patients": pl.Int64,
            "manifest_sha256": pl.String,
        }
        return pl.DataFrame(rows, schema=schema, orient="row")

    def _create_file(self) -> None:
        if self.path.exists() and self.path.stat().st_size:
            return
        kept = archive_folder(self.path)
        if kept.is_dir() and any(entry.name.isdecimal() for entry in kept.iterdir()):
            raise self._problem(
                f"the ledger is missing or empty, but its archive '{kept.name}' holds releases",
                "Restore the ledger from its backup; a new one would repeat numbers of releases.",
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            sync_to_disk(self.path.parent)

    def _check_version(self) -> None:
        if self._is_empty():
            # Asked again inside: another process may have been faster.
            with self.transaction():
                if self._is_empty():
                    for statement in _STATEMENTS:
                        self._execute(statement)
                    self._execute(
                        "INSERT INTO meta VALUES ('secret', ?)",
                        (secrets.token_bytes(_SECRET_BYTES),),
                    )
                    self._execute(f"PRAGMA application_id = {APPLICATION}")
                    self._execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        if self._execute("PRAGMA application_id")[0][0] != APPLICATION:
            raise self._problem(
                "the file is a database, but no ledger of releases", "Name another file."
            )
        version = self._execute("PRAGMA user_version")[0][0]
        if version > SCHEMA_VERSION:
            raise self._problem(
                f"the ledger was written by a newer version of the pipeline (schema {version}, "
                f"this version reads up to {SCHEMA_VERSION})",
                "Use that version or a later one; nothing was changed.",
            )
        if version == 1:
            # Asked again inside: another process may have been faster.
            with self.transaction():
                if self._execute("PRAGMA user_version")[0][0] == 1:
                    self._execute(
                        "ALTER TABLE patients ADD COLUMN value_hash BLOB "
                        "CHECK (length(value_hash) = 32)"
                    )
                    self._execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif version < SCHEMA_VERSION:
            raise self._damaged(f"schema {version} never existed")

    def _check_pages(self) -> None:
        found = self._execute("PRAGMA integrity_check(1)")[0][0]
        if found != "ok":
            raise self._damaged(" ".join(str(found).split())[:80])
        secret = self._execute("SELECT value FROM meta WHERE key = 'secret'")
        if not secret or len(secret[0][0]) != _SECRET_BYTES:
            raise self._damaged("it lacks its secret")

    def _is_empty(self) -> bool:
        version = self._execute("PRAGMA user_version")[0][0]
        return version == 0 and not self._execute("SELECT name FROM sqlite_schema LIMIT 1")

    def _release(self, sequence: int) -> LedgerRelease:
        found = self._execute(
            f"SELECT {_RELEASE_COLUMNS} FROM releases WHERE sequence = ?", (sequence,)
        )
        if not found:
            raise self._problem(f"the ledger has no release {sequence}", "Name another number.")
        return LedgerRelease(*found[0])

    def _checked(self, populations: pl.DataFrame) -> pl.DataFrame:
        if tuple(populations.columns) not in (
            POPULATION_COLUMNS,
            (*POPULATION_COLUMNS, VALUE_COLUMN),
        ):
            raise self._problem(
                f"the populations of a release have the columns {', '.join(POPULATION_COLUMNS)}, "
                f"not {', '.join(populations.columns)}",
                "Run disclosure control again.",
            )
        text = populations.with_columns(pl.all().cast(pl.String))
        named = text.select(POPULATION_COLUMNS)
        if any(named.null_count().row(0)) or (named["patient"] == "").any():
            raise self._problem(
                "the populations of a release have empty cells", "Run disclosure control again."
            )
        if VALUE_COLUMN not in text.columns:
            text = text.with_columns(pl.lit(None, dtype=pl.String).alias(VALUE_COLUMN))
        return text

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the ledger is not open; use it as a context manager")
        return self._connection

    def _execute(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            # Errors may come with any row, so all are fetched here.
            return self._open_connection().execute(statement, tuple(values)).fetchall()
        except sqlite3.Error as error:
            raise self._in_words(error) from None

    def _execute_many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        try:
            self._open_connection().executemany(statement, rows)
        except sqlite3.Error as error:
            raise self._in_words(error) from None

    def _in_words(self, error: sqlite3.Error) -> InputError:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return self._problem(
                "another process is working with the ledger",
                "Wait until it has ended and try again; nothing was written.",
            )
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return self._damaged(str(error))
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
            return self._problem(
                f"the ledger cannot be read or written ({error})",
                "Look at space and state of the disk and try again; nothing was decided.",
            )
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
            return self._problem(
                f"the ledger cannot be written ({error})",
                "Correct the access to the file and its folder; nothing was decided.",
            )
        return self._problem(
            f"the ledger refuses ({error})", "Nothing was written; report this as a defect."
        )

    def _damaged(self, what: str) -> InputError:
        return self._problem(
            f"the ledger is damaged ({what})",
            "Restore it from its backup. The file was left as it is, and everything that was "
            f"released is kept in '{archive_folder(self.path).name}'.",
        )

    def _archive_problem(self, file: Path, what: str) -> InputError:
        return InputError(Problem(what, "Restore the archive from its backup.", file=file))

    def _problem(self, what: str, remedy: str) -> InputError:
        return InputError(Problem(what, remedy, file=self.path))


def _keyed(column: str, secret: bytes) -> pl.Expr:
    """Hash a column of texts with a key; null stays null."""

    def hashed(texts: pl.Series) -> pl.Series:
        return texts.replace_strict(
            distinct := texts.unique().drop_nulls(),
            pl.Series(
                [hmac.new(secret, text.encode(), hashlib.sha256).hexdigest() for text in distinct],
                dtype=pl.String,
            ),
            return_dtype=pl.String,
            default=None,
        )

    return pl.col(column).map_batches(hashed, return_dtype=pl.String)


_RELEASE_COLUMNS = ", ".join(entry.name for entry in fields(LedgerRelease))
_REJECTION_COLUMNS = ", ".join(entry.name for entry in fields(LedgerRejection))
