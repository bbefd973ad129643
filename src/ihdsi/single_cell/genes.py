"""Name the genes of a single-cell matrix by Ensembl's identifiers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from scipy import sparse

from ihdsi.errors import InputError, Problem

__all__ = ["MITOCHONDRIAL_GENES", "GeneNaming", "name_genes", "sum_features"]

logger = logging.getLogger(__name__)

ENSEMBL_ID = r"^ENS[A-Z]*G\d{11}(\.\d+)?(_PAR_Y)?$"
#: GENCODE names the copy of a pseudoautosomal gene on Y apart; both are one gene.
SUFFIX = r"(\.\d+)?(_PAR_Y)?$"
#: The 13 protein-coding genes of the mitochondrial genome, MT-ND1 to MT-CYB (Ensembl).
MITOCHONDRIAL_GENES = frozenset(
    f"ENSG00000{number}"
    for number in (
        *("198888", "198763", "198804", "198712", "228253", "198899", "198938"),
        *("198840", "212907", "198886", "198786", "198695", "198727"),
    )
)
#: Columns in which names stand, of 10x files as read here, of scanpy's and of CELLxGENE's.
NAME_COLUMNS = (
    *("gene_names", "gene_name", "gene_symbols", "gene_symbol"),
    *("feature_name", "symbol", "name"),
)
_SHOWN = 10


@dataclass(frozen=True)
class GeneNaming:
    """Which gene each feature of a matrix counts for.

    Parameters
    ----------
    genes
        gene_id and gene_name, sorted by gene_id, each gene once.
    columns
        For each feature the row of `genes`; -1 for features that count for none.
    unmapped
        Names of these features.
    """

    genes: pl.DataFrame
    columns: np.ndarray
    unmapped: tuple[str, ...]


def name_genes(
    features: pl.DataFrame, catalogue: pl.DataFrame | None, path: Path | str
) -> GeneNaming:
    """Find the Ensembl identifier, without version, of each feature.

    The column of `features` that holds most identifiers names the genes; a feature without one
    there is unmapped (a transgene, a spike-in). Where no column holds any, names are looked up in
    the study's gene catalogue, and names that the catalogue lacks or gives to several genes, or
    that the file gives to several features, are unmapped.

    Parameters
    ----------
    features
        Columns of strings that may hold identifiers or names, a row a feature.
    catalogue
        gene_id and gene_name of the study's genes; None if it has no list.
    path
        The file, for messages.

    Raises
    ------
    InputError
        If a gene occurs twice (with the same or another version), or there are only names and no
        catalogue, or none of them is in it.
    """
    shares = {
        name: features[name].str.contains(ENSEMBL_ID).fill_null(value=False).mean()
        for name in features.columns
    }
    best = max(shares, key=lambda name: shares[name] or 0.0)
    if shares[best]:
        named = [name for name in NAME_COLUMNS if name in features.columns]
        # Without a column of names, the index of an h5ad file may hold them.
        labels = next((name for name in (*named, features.columns[0]) if name != best), best)
        wanted = features.select(
            label=pl.col(best),
            gene_id=pl.when(pl.col(best).str.contains(ENSEMBL_ID)).then(
                pl.col(best).str.replace(SUFFIX, "")
            ),
            name=pl.col(labels),
        )
        _refuse_repeated(wanted, path)
        if catalogue is not None:
            known = catalogue.select("gene_id", catalogue_name="gene_name").unique("gene_id")
            wanted = wanted.join(known, on="gene_id", how="left", maintain_order="left")
            wanted = wanted.with_columns(name=pl.coalesce("catalogue_name", "name"))
    else:
        wanted = _by_name(features, catalogue, path)
    genes = (
        wanted.drop_nulls("gene_id")
        .group_by("gene_id")
        .agg(gene_name=pl.coalesce(pl.col("name").first(), pl.col("gene_id").first()))
        .sort("gene_id")
    )
    rows = genes.with_row_index("row").select("gene_id", pl.col("row").cast(pl.Int64))
    columns = wanted.join(rows, on="gene_id", how="left", maintain_order="left")["row"]
    unmapped = tuple(wanted.filter(pl.col("gene_id").is_null())["label"].fill_null("").to_list())
    if unmapped:
        logger.warning(
            "%d of %d features of %s name no gene of the study and are left out: %s%s",
            len(unmapped),
            features.height,
            path,
            ", ".join(unmapped[:_SHOWN]),
            ", …" if len(unmapped) > _SHOWN else "",
        )
    return GeneNaming(genes, columns.fill_null(-1).to_numpy(), unmapped)


def _refuse_repeated(wanted: pl.DataFrame, path: Path | str) -> None:
    """Two rows of one gene may be two versions of it, or rows of two files: nobody can tell."""
    twice = (
        wanted.drop_nulls("gene_id")
        .filter(~pl.col("label").str.ends_with("_PAR_Y"))
        .filter(pl.col("gene_id").is_duplicated())
    )
    if twice.height:
        labels = ", ".join(twice["label"].unique(maintain_order=True)[:_SHOWN])
        raise InputError(
            Problem(
                f"{twice['gene_id'].n_unique()} gene ids occur twice ({labels})",
                "Keep one row a gene, of one version of the annotation.",
                path,
            )
        )


def _by_name(
    features: pl.DataFrame, catalogue: pl.DataFrame | None, path: Path | str
) -> pl.DataFrame:
    if catalogue is None:
        raise InputError(
            Problem(
                "the features have names but no Ensembl gene ids, and the study lists no genes",
                "Write the ids beside the names (gene_ids in var), or give "
                "reference.gene_catalogue.",
                path,
            )
        )
    names = set(catalogue["gene_name"].drop_nulls())
    best = max(features.columns, key=lambda column: features[column].is_in(names).sum())
    features = features.select(label=pl.col(best))
    known = (
        catalogue.select("gene_id", name="gene_name")
        .drop_nulls()
        .unique()
        .filter(pl.col("name").is_unique())
    )
    wanted = features.with_columns(
        name=pl.when(pl.col("label").is_unique()).then(pl.col("label"))
    ).join(known, on="name", how="left", maintain_order="left")
    if wanted["gene_id"].null_count() == wanted.height:
        shown = ", ".join(features["label"].fill_null("").head(3).to_list())
        raise InputError(
            Problem(
                f"no feature is a gene of the study, by id or by name ({shown}, …)",
                "Write Ensembl gene ids beside the names (gene_ids in var).",
                path,
            )
        )
    return wanted


def sum_features(counts: sparse.csr_matrix, naming: GeneNaming) -> sparse.csr_matrix:
    """Bring a matrix of cells x features to cells x genes, in the order of the genes.

    Features of one gene are added up; those that count for none are dropped.
    """
    kept = np.flatnonzero(naming.columns >= 0)
    placement = sparse.csr_matrix(
        (np.ones(kept.size, dtype=counts.dtype), (kept, naming.columns[kept])),
        shape=(counts.shape[1], naming.genes.height),
    )
    summed = sparse.csr_matrix(counts @ placement)
    summed.sort_indices()
    return summed
