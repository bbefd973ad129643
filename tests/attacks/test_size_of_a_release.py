"""Whoever sees only sizes, counts and times of a release must not tell that one patient came."""

import json
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

import releases as made
import signed_bundles as bundles
from ihdsi.bundle.manifest import MANIFEST
from ihdsi.bundle.seal import padded_size
from ihdsi.disclosure import apply_disclosure_control, disclosure_summary
from ihdsi.study import ClinicalVariable, DisclosureSettings
from ihdsi.summaries.cohort_profile import build_cohort_profile

SETTINGS = DisclosureSettings(minimum_n=10, minimum_cell_count=5, zero_cells_allowed=True)
LEVELS = tuple("abcdefgh")
VARIABLES = {f"variable_{i}": ClinicalVariable(type="categorical", levels=LEVELS) for i in range(8)}
N, COHORTS = 60, 6


def release(folder, patients):
    """Files of a candidate, and what the log says of how many rows were withheld."""
    profile = build_cohort_profile(patients, VARIABLES, [])
    cleared, log = apply_disclosure_control({"cohort_profile": profile}, SETTINGS, [], {}, key=b"3")
    made.draft(folder, cleared=cleared, disclosure=disclosure_summary(log, SETTINGS))
    return made.files_of(folder), log.group_by("rule").len().sort("rule").rows()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Releases of cohorts without and with one more patient, who fills a cell up to five."""
    folder, found = tmp_path_factory.mktemp("pairs"), []
    for seed in range(COHORTS):
        rng = np.random.default_rng(seed)
        share = rng.dirichlet(np.full(len(LEVELS), 1.0))
        values = {name: rng.choice(LEVELS, N, p=share).astype(object) for name in VARIABLES}
        # Four patients of the last level in each variable; of one, the newcomer is the fifth.
        for column in values.values():
            column[:4] = "h"
            column[4:][column[4:] == "h"] = "a"
        table = pl.DataFrame(
            {"patient": [f"p{i}" for i in range(N)]}
            | {name: pl.Series(column.tolist(), dtype=pl.String) for name, column in values.items()}
        )
        newcomer = pl.DataFrame(
            {"patient": ["p60"]}
            | {name: ["h" if name == "variable_0" else "a"] for name in VARIABLES}
        )
        found.append(
            tuple(
                release(folder / f"{seed}-{number}", cohort)
                for number, cohort in enumerate((table, pl.concat([table, newcomer])))
            )
        )
    return found


def test_the_length_of_the_sealed_file_does_not_tell(pairs):
    # Without padding, the files' bytes give nearly every newcomer away.
    bytes_of = [tuple(sum(map(len, files.values())) for files, _ in pair) for pair in pairs]
    assert sum(without != with_one for without, with_one in bytes_of) >= COHORTS - 1
    sealed = [
        tuple(len(bundles.archive(bundles.members(files))) for files, _ in pair) for pair in pairs
    ]
    assert all(without == with_one for without, with_one in sealed)
    # The same where releases are larger than the smallest length.
    far = [(without + 3_000_000, with_one + 3_000_000) for without, with_one in bytes_of]
    assert sum(padded_size(a) == padded_size(b) for a, b in far) >= COHORTS - 1


def test_how_much_was_withheld_does_not_tell(pairs):
    # The site's own log tells: some rows fewer are withheld.
    assert sum(before != after for (_, before), (_, after) in pairs) >= COHORTS - 1
    # At the border of two bands it could; there is one for every ten-fold number of rows.
    told = [b["disclosure.json"] != a["disclosure.json"] for (b, _), (a, _) in pairs]
    assert sum(told) <= 1


#: Seconds of work on a patient; the steward drafts both releases at the same time.
SECONDS_A_PATIENT = 2


def times_of(files):
    """Every time that a file of the release tells, in whatever document it stands."""
    text = b"\n".join(files.values()).decode("latin-1")
    found = re.findall(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|\+00:00)?", text)
    return {datetime.fromisoformat(time).replace(tzinfo=UTC) for time in found}


def guessed_patients(files):
    """What the attacker makes of them: the work took from the first time told to the last."""
    times = times_of(files)
    return (max(times) - min(times)).total_seconds() / SECONDS_A_PATIENT


def with_times_of_the_run(files, n_patients):
    """The release as a crate of a run would have it that tells when each action started."""
    crate = json.loads(files["ro-crate-metadata.json"])
    end = datetime.fromisoformat(made.CREATED)
    start = end - timedelta(seconds=SECONDS_A_PATIENT * n_patients)
    (action,) = [e for e in crate["@graph"] if e["@type"] == "CreateAction"]
    action |= {"startTime": start.isoformat(), "endTime": end.isoformat()}
    return files | {"ro-crate-metadata.json": json.dumps(crate).encode()}


def test_the_time_that_the_work_took_does_not_tell(pairs):
    for (without, _), (with_one, _) in pairs:
        # Where the run's times are told, the attacker counts the patients.
        told = [
            guessed_patients(with_times_of_the_run(files, n))
            for files, n in ((without, N), (with_one, N + 1))
        ]
        assert told == [N, N + 1]
        # The release tells one time, that of the draft, from which nothing follows.
        assert [guessed_patients(files) for files in (without, with_one)] == [0, 0]
        assert times_of(without) == times_of(with_one) == {datetime.fromisoformat(made.CREATED)}


def test_the_manifest_holds_no_times_but_that_of_the_draft(pairs):
    files = pairs[0][0][0]
    text = files[MANIFEST].decode() + files["ro-crate-metadata.json"].decode()
    assert made.CREATED in text
    rest = text.replace(made.CREATED, "").replace(made.CREATED[:10], "")
    assert "2026" not in rest
    assert not any(word in rest.lower() for word in ("duration", "elapsed", "seconds", "runtime"))
    document = json.loads(files[MANIFEST])
    assert set(document["files"][0]) == {"path", "sha256", "size", "rows", "table", "table_version"}
