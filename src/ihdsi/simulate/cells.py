"""Single cells of a few donors of each site: known types, shares, effects and faulty droplets."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse
from scipy.io import mmwrite

from ihdsi.files import atomic_output
from ihdsi.simulate.cohort import SiteDesign
from ihdsi.simulate.streams import stream

__all__ = [
    "CELL",
    "CellModel",
    "DonorCells",
    "cell_donors",
    "cell_effect_truth",
    "cell_files",
    "cell_model",
    "cell_sample_rows",
    "cell_truth",
    "composition_truth",
    "read_cell_markers",
    "share_truth",
    "simulate_donor_cells",
    "write_site_cells",
]

Floats = NDArray[np.float64]

#: Expected share of each type among a donor's cells, by stage group. Muscle-invasive tumours have
#: more stroma and macrophages and fewer umbrella cells; the shifts add up to zero, so that the
#: other types have no difference to find.
CELL_TYPE_SHARES = {
    "tumour": {"NMIBC": 0.30, "MIBC": 0.30},
    "urothelial_umbrella": {"NMIBC": 0.18, "MIBC": 0.06},
    "fibroblast": {"NMIBC": 0.13, "MIBC": 0.20},
    "myeloid": {"NMIBC": 0.11, "MIBC": 0.16},
    "t_cell": {"NMIBC": 0.16, "MIBC": 0.16},
    "endothelial": {"NMIBC": 0.06, "MIBC": 0.06},
    "b_cell": {"NMIBC": 0.06, "MIBC": 0.06},
}
# Of the Dirichlet distribution of donors' shares: their sum of parameters.
SHARE_CONCENTRATION = 120.0
# A careful study plans as many women as men in each group; the sites have so many of each.
DONORS_PER_SEX_AND_STAGE = 6

# So many that nearly every donor has ten tumour cells, fibroblasts, T and myeloid cells: a type
# that few donors lack is withheld, as how few they are would follow.
CELLS_PER_DONOR = 260
DOUBLETS_PER_DONOR = 8
DYING_PER_DONOR = 8
EMPTY_PER_DONOR = 14

# Counts per cell and gene: log-normal over genes; a share of the genes differs between types.
CELL_LOG_MEAN = 0.3
CELL_LOG_SD = 0.8
SHARE_OF_TYPED_GENES = 0.35
TYPED_GENE_LOG_SD = 1.0
MARKER_MEAN = 3.0
MARKER_ELSEWHERE = 0.08
MITOCHONDRIAL_MEAN = 3.0
CELL_DISPERSION = 0.2
DEPTH_LOG_SD = 0.25
# What makes donors differ beyond their cells, and laboratories: log2 units, gene by gene.
DONOR_LOG2_SD = 0.35
CELL_SITE_LOG2_SD = 0.25

# A dying cell has lost most of its cytoplasm, but not its mitochondria.
DYING_SHARE_OF_COUNTS = 0.4
DYING_MITOCHONDRIAL_FOLD = 10.0
# An empty droplet holds what floats around.
EMPTY_SHARE_OF_COUNTS = 0.03

# A planted gene must be able to show its effect: at least so many counts per cell of its type.
PLANTED_CELL_MEAN = 1.0
#: Effects in fibroblasts are of fillers that carry no other effect. Tumour cells carry those that
#: the whole tumours carry; all other types carry none.
N_FIBROBLAST_GENES = 16
FIBROBLAST_EFFECT_SIZE = (1.0, 2.0)

#: Ensembl's identifiers of the protein-coding genes of the mitochondrial genome, in their order.
MITOCHONDRIAL_GENE_IDS = {
    "MT-ND1": "ENSG00000198888",
    "MT-ND2": "ENSG00000198763",
    "MT-CO1": "ENSG00000198804",
    "MT-CO2": "ENSG00000198712",
    "MT-ATP8": "ENSG00000228253",
    "MT-ATP6": "ENSG00000198899",
    "MT-CO3": "ENSG00000198938",
    "MT-ND3": "ENSG00000198840",
    "MT-ND4L": "ENSG00000212907",
    "MT-ND4": "ENSG00000198886",
    "MT-ND5": "ENSG00000198786",
    "MT-ND6": "ENSG00000198695",
    "MT-CYB": "ENSG00000198727",
}

#: What a barcode stands for.
CELL, DOUBLET, DYING, EMPTY = "cell", "doublet", "dying", "empty"
#: Column of the h5ad file's cells that names their donor.
DONOR_COLUMN = "donor"
_BARCODE_LENGTH = 16
_PARTS = ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz")


@dataclass(frozen=True)
class CellModel:
    """Expected counts of every type and gene.

    Attributes
    ----------
    genes
        gene_id and gene_name of G genes: those of the demo, then further markers of cell types,
        then mitochondrial ones.
    types
        Names of the T types that are simulated.
    mean
        Shape (T, G): counts per cell of average depth, half-way between the stage groups.
    effect
        Shape (T, G): log2 fold change, MIBC against NMIBC; 0 where nothing is planted.
    site_shift
        Shape (G,) by site: log2 difference that the site's laboratory makes.
    mitochondrial
        Shape (G,): whether the gene is mitochondrial.
    """

    genes: pl.DataFrame
    types: tuple[str, ...]
    mean: Floats
    effect: Floats
    site_shift: Mapping[str, Floats]
    mitochondrial: NDArray[np.bool_]


@dataclass(frozen=True)
class DonorCells:
    """Barcodes of one donor, in the order of the file.

    Attributes
    ----------
    patient
        Whose they are; the sample is called ``<patient>-C``.
    barcodes
        N names.
    kind
        Shape (N,): cell, doublet, dying or empty.
    cell_type
        Shape (N,): the type; of a doublet the two, joined by ``+``; nothing of empty droplets.
    shares
        Shape (T,): share of each type among the cells of the tissue.
    counts
        Shape (N, G).
    """

    patient: str
    barcodes: list[str]
    kind: NDArray[np.str_]
    cell_type: NDArray[np.str_]
    shares: Floats
    counts: NDArray[np.int32]

    @property
    def sample(self) -> str:
        """Name of the sample in the sheet."""
        return f"{self.patient}-C"


def read_cell_markers(path: Path | str) -> pl.DataFrame:
    """Read ``resources/cell_type_markers.tsv``: cell_type, gene_name, gene_id, source."""
    return pl.read_csv(path, separator="\t", comment_prefix="#")


def cell_donors(patients: pl.DataFrame, design: SiteDesign) -> list[str]:
    """Choose the donors of a site: the first women and men of each stage group.

    Parameters
    ----------
    patients
        patient, site, stage_group and sex, in order.
    """
    chosen = pl.int_range(pl.len()).over("stage_group", "sex") < DONORS_PER_SEX_AND_STAGE
    return patients.filter(pl.col("site") == design.site).filter(chosen)["patient"].to_list()


def cell_files(design: SiteDesign, donors: Sequence[str], folder: str) -> list[str]:
    """Paths that `write_site_cells` writes below the site's `folder`."""
    if design.cells_as_h5ad:
        return [f"{folder}/cells.h5ad"]
    return [f"{folder}/cells/{donor}-C/{part}" for donor in donors for part in _PARTS]


def cell_sample_rows(
    design: SiteDesign, donors: Sequence[str], folder: str
) -> list[dict[str, str]]:
    """Rows of the sample sheet, one a donor.

    Parameters
    ----------
    folder
        The site's folder of simulated files, as the sheet names it.
    """
    rows = []
    for donor in donors:
        row = {"patient": donor, "sample": f"{donor}-C", "tissue": "tumour", "assay": "single_cell"}
        if design.cells_as_h5ad:
            row |= {
                "cells": f"{folder}/cells.h5ad",
                "cells_sample": donor,
                "cells_column": DONOR_COLUMN,
            }
        else:
            row |= {"cells": f"{folder}/cells/{donor}-C"}
        rows.append(row)
    return rows


def _cell_genes(genes: pl.DataFrame, markers: pl.DataFrame) -> pl.DataFrame:
    mitochondrial = pl.DataFrame(
        {
            "gene_id": list(MITOCHONDRIAL_GENE_IDS.values()),
            "gene_name": list(MITOCHONDRIAL_GENE_IDS),
        }
    )
    columns = ("gene_id", "gene_name")
    further = markers.select(columns).unique("gene_id", maintain_order=True)
    return pl.concat([genes.select(columns), further, mitochondrial]).unique(
        "gene_id", keep="first", maintain_order=True
    )


def _planted_effects(
    genes: pl.DataFrame, parameters: pl.DataFrame, types: Sequence[str], sizes: Floats
) -> Floats:
    """Log2 fold change of each type and gene; `sizes` are those of fibroblasts, gene by gene."""
    effect = np.zeros((len(types), genes.height))
    common = pl.when("site_specific").then(0.0).otherwise("log2_fold_change")
    effect[types.index("tumour")] = (
        genes.join(
            parameters.select("gene_id", change=common),
            on="gene_id",
            how="left",
            maintain_order="left",
        )["change"]
        .fill_null(0.0)
        .to_numpy()
    )
    # Fillers take turns by their number modulo five; the last fifth carries no effect in bulk.
    number = pl.col("gene_name").str.extract(r"^SIM(\d+)$").cast(pl.Int64)
    rank = genes.select(pl.when(number % 5 == 4).then(number // 5)).to_series().fill_null(-1)
    planted = rank.is_between(0, N_FIBROBLAST_GENES - 1).to_numpy()
    signed = np.where(rank.to_numpy() % 2 == 0, sizes, -sizes)
    effect[types.index("fibroblast"), planted] = signed[planted]
    return effect


def cell_model(
    seed: int, parameters: pl.DataFrame, markers: pl.DataFrame, sites: Sequence[SiteDesign]
) -> CellModel:
    """Draw the means of types and genes, and plant the effects.

    Markers of cell types carry no effect: a tumour cell stays one whatever its stage.

    Parameters
    ----------
    seed
        The study's seed.
    parameters
        Result of `ihdsi.simulate.expression.expression_parameters`.
    markers
        As of `read_cell_markers`.
    sites
        The sites.
    """
    genes = _cell_genes(parameters, markers)
    types = tuple(CELL_TYPE_SHARES)
    mitochondrial = genes["gene_id"].is_in(list(MITOCHONDRIAL_GENE_IDS.values())).to_numpy()
    is_marker = genes["gene_id"].is_in(markers["gene_id"].to_list()).to_numpy()
    mean = np.empty((len(types), genes.height))
    sizes = np.empty(genes.height)
    for column, gene_id in enumerate(genes["gene_id"]):
        rng = stream(seed, "cells", "gene", gene_id)
        level = np.exp(rng.normal(CELL_LOG_MEAN, CELL_LOG_SD))
        is_typed = rng.random() < SHARE_OF_TYPED_GENES
        factors = np.exp(rng.normal(0.0, TYPED_GENE_LOG_SD, len(types)))
        mean[:, column] = level * factors if is_typed else level
        sizes[column] = rng.uniform(*FIBROBLAST_EFFECT_SIZE)
    mean[:, mitochondrial] = MITOCHONDRIAL_MEAN
    mean[:, is_marker] = MARKER_ELSEWHERE
    for row, name in enumerate(types):
        own = markers.filter(pl.col("cell_type") == name)["gene_id"].to_list()
        mean[row, genes["gene_id"].is_in(own).to_numpy()] = MARKER_MEAN
    effect = _planted_effects(genes, parameters, types, sizes)
    effect[:, is_marker] = 0.0
    return CellModel(
        genes,
        types,
        np.where(effect != 0, np.maximum(mean, PLANTED_CELL_MEAN), mean),
        effect,
        {
            design.site: np.array(
                [
                    stream(seed, "cells", "site", design.site, gene_id).normal(0, CELL_SITE_LOG2_SD)
                    for gene_id in genes["gene_id"]
                ]
            )
            for design in sites
        },
        mitochondrial,
    )


def simulate_donor_cells(
    seed: int, patient: str, site: str, stage_group: str, model: CellModel
) -> DonorCells:
    """Draw the barcodes of one donor.

    Shares of types are Dirichlet around those of the stage group; each type's mean of each gene
    varies from donor to donor (log-normal), which is the biological variance of pseudobulk; counts
    are negative binomial. A doublet holds the counts of two cells, an empty droplet a little of
    all.

    Parameters
    ----------
    seed
        The study's seed. Each donor has a stream, so that others change nothing.
    patient, site, stage_group
        The donor.
    model
        Result of `cell_model`.
    """
    rng = stream(seed, "cells", "donor", patient)
    expected = np.array([CELL_TYPE_SHARES[name][stage_group] for name in model.types])
    shares = rng.dirichlet(SHARE_CONCENTRATION * expected)
    invasive = float(stage_group == "MIBC")
    profile = model.mean * 2.0 ** (
        model.effect * (invasive - 0.5)
        + model.site_shift[site]
        + rng.normal(0.0, DONOR_LOG2_SD, model.mean.shape)
    )
    kind = np.repeat(
        [CELL, DOUBLET, DYING, EMPTY],
        [CELLS_PER_DONOR, DOUBLETS_PER_DONOR, DYING_PER_DONOR, EMPTY_PER_DONOR],
    )
    first, second = rng.choice(len(model.types), (2, kind.size), p=shares)
    names = np.array(model.types)
    mean = profile[first]
    is_double, is_dying, is_empty = kind == DOUBLET, kind == DYING, kind == EMPTY
    mean[is_double] += profile[second[is_double]]
    mean[is_dying] *= np.where(
        model.mitochondrial, DYING_MITOCHONDRIAL_FOLD * DYING_SHARE_OF_COUNTS, DYING_SHARE_OF_COUNTS
    )
    mean[is_empty] = EMPTY_SHARE_OF_COUNTS * (shares @ profile)
    mean *= np.exp(rng.normal(0.0, DEPTH_LOG_SD, kind.size))[:, None]
    size = 1.0 / CELL_DISPERSION
    counts = rng.negative_binomial(size, size / (size + mean)).astype(np.int32)
    cell_type = np.where(
        is_empty,
        "",
        np.where(
            is_double, np.char.add(np.char.add(names[first], "+"), names[second]), names[first]
        ),
    )
    order = rng.permutation(kind.size)
    return DonorCells(
        patient,
        _barcodes(rng, kind.size),
        kind[order],
        cell_type[order],
        shares,
        counts[order],
    )


def _barcodes(rng: np.random.Generator, n: int) -> list[str]:
    """Distinct barcodes as Cell Ranger writes them: 16 bases and the number of the library."""
    codes = rng.choice(4**_BARCODE_LENGTH, n, replace=False)
    digits = (codes[:, None] >> (2 * np.arange(_BARCODE_LENGTH))) & 3
    return ["".join(row) + "-1" for row in np.array(list("ACGT"))[digits]]


def write_site_cells(
    design: SiteDesign, cells: Sequence[DonorCells], genes: pl.DataFrame, folder: Path | str
) -> None:
    """Write a site's cells: Cell Ranger's matrix folders, or one h5ad file of all donors.

    Parameters
    ----------
    genes
        Those of the model.
    folder
        The site's folder.
    """
    if design.cells_as_h5ad:
        _write_h5ad(cells, genes, Path(folder) / "cells.h5ad")
        return
    rows = genes.select("gene_id", "gene_name").iter_rows()
    features = "".join(f"{gene_id}\t{name}\tGene Expression\n" for gene_id, name in rows)
    for donor in cells:
        matrix = io.BytesIO()
        mmwrite(matrix, sparse.coo_matrix(donor.counts.T), field="integer", symmetry="general")
        barcodes = "".join(f"{barcode}\n" for barcode in donor.barcodes)
        contents = (matrix.getvalue(), features.encode(), barcodes.encode())
        for part, content in zip(_PARTS, contents, strict=True):
            with atomic_output(Path(folder) / "cells" / donor.sample / part) as temporary:
                temporary.write_bytes(gzip.compress(content, mtime=0))


def _write_h5ad(cells: Sequence[DonorCells], genes: pl.DataFrame, path: Path) -> None:
    # Imported on use: the sheets and the paths need neither of them.
    import anndata as ad
    import pandas as pd

    owners = [donor.patient for donor in cells for _ in donor.barcodes]
    joined = ad.AnnData(
        sparse.csr_matrix(np.concatenate([donor.counts for donor in cells]), dtype=np.float32),
        obs=pd.DataFrame(
            {DONOR_COLUMN: pd.Categorical(owners)},
            index=pd.Index([name for donor in cells for name in _names_in_h5ad(donor)]),
        ),
        var=pd.DataFrame(
            {"gene_ids": genes["gene_id"].to_list()}, index=pd.Index(genes["gene_name"].to_list())
        ),
    )
    with atomic_output(path) as temporary:
        joined.write_h5ad(temporary, compression="gzip")


def _names_in_h5ad(donor: DonorCells) -> list[str]:
    """Barcodes of several libraries may be alike, so that the donor stands before them."""
    return [f"{donor.patient}_{barcode}" for barcode in donor.barcodes]


def cell_truth(design: SiteDesign, cells: Sequence[DonorCells]) -> pl.DataFrame:
    """Say what each barcode is.

    Returns
    -------
    polars.DataFrame
        cell (named as the pipeline names it: sample, colon, name in the file), patient, sample,
        kind (cell, doublet, dying, empty) and cell_type (of a doublet both, joined by ``+``; null
        for empty droplets).
    """
    parts = []
    for donor in cells:
        names = _names_in_h5ad(donor) if design.cells_as_h5ad else donor.barcodes
        parts.append(
            pl.DataFrame(
                {
                    "cell": [f"{donor.sample}:{name}" for name in names],
                    "patient": donor.patient,
                    "sample": donor.sample,
                    "kind": donor.kind.tolist(),
                    "cell_type": [name or None for name in donor.cell_type.tolist()],
                }
            )
        )
    return pl.concat(parts)


def share_truth(model: CellModel, cells: Sequence[DonorCells]) -> pl.DataFrame:
    """Share of each type in each donor's tissue: patient, cell_type, share."""
    return pl.DataFrame(
        {
            "patient": np.repeat([donor.patient for donor in cells], len(model.types)).tolist(),
            "cell_type": list(model.types) * len(cells),
            "share": np.concatenate([donor.shares for donor in cells]),
        }
    )


def composition_truth() -> pl.DataFrame:
    """Give the expected share of each type by stage group, and its difference.

    Returns
    -------
    polars.DataFrame
        cell_type, share_nmibc, share_mibc, difference (MIBC minus NMIBC; 0 where none is planted).
    """
    return pl.DataFrame(
        [
            {
                "cell_type": name,
                "share_nmibc": share["NMIBC"],
                "share_mibc": share["MIBC"],
                "difference": round(share["MIBC"] - share["NMIBC"], 12),
            }
            for name, share in CELL_TYPE_SHARES.items()
        ]
    )


def cell_effect_truth(model: CellModel) -> pl.DataFrame:
    """Effect of every gene in every type.

    Returns
    -------
    polars.DataFrame
        cell_type, gene_id, gene_name, mean (counts per cell of average depth, half-way between the
        stage groups), log2_fold_change (MIBC against NMIBC; 0 where nothing is planted).
    """
    return pl.concat(
        model.genes.select(
            pl.lit(name).alias("cell_type"),
            "gene_id",
            "gene_name",
            mean=pl.Series(model.mean[row]),
            log2_fold_change=pl.Series(model.effect[row]),
        )
        for row, name in enumerate(model.types)
    )
