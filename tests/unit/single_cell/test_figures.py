"""Figures of a site's cells are drawn of any data, and say what they show."""

import numpy as np
import polars as pl
import pytest

from ihdsi.single_cell.clusters import CELLS_SCHEMA, count_types
from ihdsi.single_cell.figures import COLOURS, _in_words, _styles, draw_composition, draw_quality
from ihdsi.single_cell.figures import draw_umap as draw
from ihdsi.single_cell.quality import filter_cells
from simulated_cells import SETTINGS, TYPES, as_cells, draw_cells

N = 400


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(6)
    types = rng.choice([*TYPES, "unassigned"], N)
    return pl.DataFrame(
        {
            "cell": [f"c{i}" for i in range(N)],
            "patient": rng.choice([f"D{i:02d}" for i in range(14)], N),
            "sample": "s",
            "cluster": "0",
            "cell_type": types,
            "umap_1": rng.normal(size=N),
            "umap_2": rng.normal(size=N),
        },
        schema=CELLS_SCHEMA,
    )


def text_of(path):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    return content


def test_cells_are_drawn_by_type_and_by_donor(cells, tmp_path):
    for by, what in (("cell_type", b"by cell type"), ("patient", b"by donor")):
        draw(cells, by, "Alpha", tmp_path / f"{by}.png")
        draw(cells, by, "Alpha", tmp_path / "again.png")
        assert b"UMAP of 400 cells " + what in text_of(tmp_path / f"{by}.png")
        assert (tmp_path / "again.png").read_bytes() == (tmp_path / f"{by}.png").read_bytes()


def test_composition_and_quality_are_drawn(cells, tmp_path):
    draw_composition(count_types(cells), "Alpha", tmp_path / "composition.png")
    assert b"Cell types by donor" in text_of(tmp_path / "composition.png")
    rng = np.random.default_rng(2)
    counts = draw_cells(rng.choice(TYPES, 60), rng)
    counts[0] = 0
    decisions = filter_cells(as_cells(counts), "P", "s", SETTINGS)[1]
    draw_quality(decisions, "Alpha", tmp_path / "quality.png")
    assert b"Quality of barcodes" in text_of(tmp_path / "quality.png")


def test_a_site_without_cells_gets_figures_that_say_so(cells, tmp_path):
    draw(cells.clear(), "patient", "Alpha", tmp_path / "a.png")
    draw_composition(count_types(cells.clear()), "Alpha", tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        assert b"No cells" in text_of(tmp_path / name)


def test_no_two_groups_look_alike_and_no_type_is_grey():
    names = [f"n{i:02d}" for i in range(3 * len(COLOURS))]
    styles = _styles([*names, "unassigned"])
    assert len(set(styles.values())) == len(names) + 1
    assert styles["unassigned"][0] not in COLOURS


def test_types_are_named_as_people_write_them():
    assert _in_words("t_cell") == "T cell"
    assert _in_words("nk_cell") == "NK cell"
    assert _in_words("urothelial_basal") == "urothelial basal"
