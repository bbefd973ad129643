"""Command line: look at inputs and results without running the workflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ihdsi.cli_errors import errors_in_words
from ihdsi.errors import InputError, Problem
from ihdsi.release_commands import audit, keys, release, trust

__all__ = ["app"]

app = typer.Typer(
    help="IHDSI cohort pipeline: look at inputs and results. The workflow itself is `snakemake`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
sheets = typer.Typer(help="Sample sheets.", no_args_is_help=True)
recovery = typer.Typer(help="What a simulated study recovered of its truth.", no_args_is_help=True)
schemas = typer.Typer(help="JSON Schemas of the documents that users write.", no_args_is_help=True)
simulated = typer.Typer(help="The simulated demonstration study.", no_args_is_help=True)
cohort = typer.Typer(help="Public cohorts as federations.", no_args_is_help=True)
app.add_typer(sheets, name="sheets")
app.add_typer(recovery, name="recovery")
app.add_typer(schemas, name="schemas")
app.add_typer(simulated, name="demo")
app.add_typer(cohort, name="public-cohort")
app.add_typer(keys, name="keys")
app.add_typer(trust, name="trust")
app.add_typer(release, name="release")
app.add_typer(audit, name="audit")


@app.command("tables")
def show_tables(
    name: Annotated[str | None, typer.Argument(help="One table, column by column.")] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="The whole contract, as in docs/tables.md.")
    ] = False,
) -> None:
    """Print the summary tables that may leave a site: their columns, units and ranges."""
    from ihdsi.table_document import describe_table, list_tables, tables_document

    with errors_in_words():
        if markdown and name is not None:
            raise InputError(
                Problem("--markdown prints all tables", f"Leave out either it or '{name}'.")
            )
        if markdown:
            print(tables_document(), end="")
        else:
            print(list_tables() if name is None else describe_table(name))


@sheets.command("describe")
def describe_sheets(
    config: Annotated[Path, typer.Option("--configfile", help="Run configuration.")] = Path(
        "config/config.yaml"
    ),
) -> None:
    """Say back, patient by patient, how the sample sheets are understood; checks everything."""
    # Imported on use, as in every command, so that --help answers at once.
    from ihdsi.plan import load_plan
    from ihdsi.study import RunConfig
    from ihdsi.yaml_documents import load_document

    with errors_in_words():
        run = load_document(config, RunConfig)
        print(load_plan(run.model_dump(), config).describe())


@recovery.command("show")
def show_recovery(path: Annotated[Path, typer.Argument(help="recovery.json")]) -> None:
    """Print the recovery table of a simulated study."""
    from ihdsi.simulate.recovery import format_recovery

    with errors_in_words():
        print(format_recovery(json.loads(path.read_text(encoding="utf-8"))))


@schemas.command("write")
def write_document_schemas(
    folder: Annotated[Path, typer.Argument(help="Target folder.")],
) -> None:
    """Write the JSON Schemas of configuration, study, site, sample sheet and codebook."""
    from ihdsi.schemas import write_schemas

    with errors_in_words():
        write_schemas(folder)


@simulated.command("write-sheets")
def write_sheets(
    seed: Annotated[int, typer.Option(help="The demo study's seed.")],
    config_dir: Annotated[Path, typer.Option(help="The project's config folder.")] = Path("config"),
    panel: Annotated[Path, typer.Option(help="Gene panel.")] = Path(
        "resources/bladder_gene_panel.tsv"
    ),
) -> None:
    """Write the demo's sample sheets and clinical tables anew (after a change of the seed)."""
    from ihdsi.simulate.sheets import write_demo_sheets

    with errors_in_words():
        write_demo_sheets(seed, config_dir, panel)


@cohort.command("split")
def split_public_cohort(
    maf: Annotated[Path, typer.Option(help="Mutations (MAF, may be gzipped).")],
    clinical: Annotated[Path, typer.Option(help="Clinical table with tissue_source_site.")],
    study: Annotated[Path, typer.Option(help="Study file whose participants the sites are.")],
    codebook: Annotated[Path, typer.Option(help="Codebook of the clinical table.")],
    output: Annotated[Path, typer.Option(help="Folder for the sites and the run configuration.")],
) -> None:
    """Split a public cohort by collecting hospital into a federation that the workflow can run."""
    from ihdsi.simulate.public_cohort import split_cohort_by_site, write_federation

    with errors_in_words():
        sites = split_cohort_by_site(maf, clinical, output)
        run = write_federation(sites, study, codebook, output)
    print(sites.write_csv(separator="\t"), end="")
    print(f"Run it: snakemake --configfile {run}")
