"""Draft a site's release and sign it as producer."""

import json
from datetime import UTC, datetime
from pathlib import Path

from ihdsi.bundle.draft import draft_release
from ihdsi.logs import log_to
from ihdsi.study import load_site, load_study
from ihdsi.summaries import read_table

log_to(snakemake.log[0])
study = load_study(snakemake.params.study_file)
draft_release(
    Path(snakemake.output.manifest).parent,
    {Path(path).stem: read_table(path, Path(path).stem) for path in snakemake.input.tables},
    json.loads(Path(snakemake.input.disclosure).read_text(encoding="utf-8")),
    json.loads(Path(snakemake.input.earlier).read_text(encoding="utf-8")),
    study,
    load_site(snakemake.params.site_file, study),
    populations=snakemake.input.populations,
    project=Path(snakemake.scriptdir).parents[1],
    now=datetime.now(UTC),
)
