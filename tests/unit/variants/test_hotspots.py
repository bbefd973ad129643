"""Tables of recurrent alterations and tiers, and which variants meet them."""

from pathlib import Path

import polars as pl
import pytest

from ihdsi.annotation import coding_transcripts
from ihdsi.variants.consequences import changed_residues
from ihdsi.variants.hotspots import (
    hotspot_changes,
    load_known_alterations,
    mark_promoters,
    promoter_positions,
    read_hotspots,
    read_tiers,
    with_hotspots,
    with_tiers,
)
from ihdsi.variants.somatic import SOMATIC_SCHEMA

RESOURCES = Path(__file__).parents[3] / "resources"
HEADER = "gene_name\tkind\tposition\treference\talternate\tsource"
GOOD = "FGFR3\tprotein\t249\tS\tC\tChang 2016"


def table(tmp_path, *rows, header=HEADER, name="hotspots.tsv"):
    path = tmp_path / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


# --- the tables that ship -----------------------------------------------------------------------


def test_the_shipped_tables_are_good_and_have_sources():
    hotspots = read_hotspots(RESOURCES / "hotspots.tsv")
    assert hotspots.height > 150
    assert hotspots["source"].str.contains(r"\d{4}, [A-Z].+ \d+:\d+").all()
    assert set(hotspots.filter(kind="promoter")["position"]) == {-124, -146}
    tiers = read_tiers(RESOURCES / "alteration_tiers.tsv")
    assert tiers["source"].str.contains(r"\d{4}, [A-Z].+ \d+:\d+").all()
    # A tier for a protein change of class hotspot would never be given without the hotspot.
    listed = hotspot_changes(
        tiers.filter(pl.col("alteration_class") == "hotspot").with_columns(
            alteration_class=pl.lit("missense")
        ),
        hotspots,
    )
    named = tiers.filter(
        (pl.col("alteration_class") == "hotspot") & ~pl.col("protein_change").is_null()
    )
    assert set(listed["protein_change"]) == set(named["protein_change"])


@pytest.mark.parametrize(
    ("gene", "change", "expected"),
    [
        ("FGFR3", "S249C", True),
        ("FGFR3", "R248C", True),
        ("FGFR3", "Y373C", True),
        ("FGFR3", "K650M", True),
        # The numbers of isoform IIIb are other residues of the canonical isoform.
        ("FGFR3", "Y375C", False),
        ("FGFR3", "S249F", False),
        ("PIK3CA", "E545K", True),
        ("PIK3CA", "H1047R", True),
        ("TP53", "R248Q", True),
        ("TP53", "R280T", True),
        ("TP53", "P72R", False),
        ("HRAS", "G12D", True),
        ("ERBB2", "S310F", True),
        ("ERCC2", "N238S", True),
        ("RXRA", "S427F", True),
        ("TTN", "S249C", False),
        # Two residues at once, of which one is a hotspot.
        ("TP53", "R248_R249delinsQS", True),
        ("TP53", "248_249RR>QS", True),
        (None, "S249C", False),
        ("FGFR3", None, False),
    ],
)
def test_known_changes(gene, change, expected):
    changes = pl.DataFrame(
        {"gene_name": [gene], "protein_change": [change], "alteration_class": ["missense"]},
        schema=dict.fromkeys(("gene_name", "protein_change", "alteration_class"), pl.String),
    )
    hotspots = read_hotspots(RESOURCES / "hotspots.tsv")
    assert hotspot_changes(changes, hotspots).height == expected
    kind = with_hotspots(changes, hotspots)["alteration_class"].item()
    assert kind == ("hotspot" if expected else "missense")


@pytest.mark.parametrize(
    ("change", "kind", "expected"),
    [
        ("R10C", "missense", True),
        ("R10H", "missense", True),
        ("K10H", "missense", False),  # another isoform's residue 10
        ("R10del", "inframe", True),
        ("R10_L12del", "inframe", True),
        ("L9_R10del", "inframe", False),
        ("10_11RL>V", "inframe", True),
        ("R10*", "truncating", False),  # a stop is loss of function
        ("R10fs", "truncating", False),
        ("R10=", "synonymous", False),
        ("R10R", "splice", False),
        ("E20*", "truncating", True),  # listed as a stop
        ("E20K", "missense", False),
    ],
)
def test_any_alternate_and_stops(tmp_path, change, kind, expected):
    hotspots = read_hotspots(
        table(tmp_path, "G\tprotein\t10\tR\t\tA 2020", "G\tprotein\t20\tE\t*\tA 2020")
    )
    changes = pl.DataFrame(
        {"gene_name": ["G"], "protein_change": [change], "alteration_class": [kind]}
    )
    assert hotspot_changes(changes, hotspots).height == expected


# --- faults of a study's own table --------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ("\tprotein\t249\tS\tC\tChang", "gene_name"),
        ("FGFR3\texon\t249\tS\tC\tChang", "kind"),
        ("FGFR3\tprotein\tS249\tS\tC\tChang", "position"),
        ("FGFR3\tprotein\t0\tS\tC\tChang", "position"),
        ("FGFR3\tprotein\t-249\tS\tC\tChang", "position"),
        ("TERT\tpromoter\t124\tC\tT\tHorn", "position"),
        ("FGFR3\tprotein\t249\tSer\tC\tChang", "reference"),
        ("FGFR3\tprotein\t249\tB\tC\tChang", "reference"),
        ("FGFR3\tprotein\t249\tS\tCys\tChang", "alternate"),
        ("TERT\tpromoter\t-124\tC\t\tHorn", "alternate"),
        ("TERT\tpromoter\t-124\tC\tK\tHorn", "alternate"),
        ("FGFR3\tprotein\t249\tS\tC\t", "source"),
    ],
)
def test_bad_values_are_named_with_row_and_column(tmp_path, refused, row, column):
    path = table(tmp_path, GOOD.replace("249", "248"), row)
    refused(lambda: read_hotspots(path), file=path, row=3, column=column, text=f"is no {column}")


def test_repeated_and_incomplete_tables(tmp_path, refused):
    path = table(tmp_path, GOOD, GOOD)
    refused(
        lambda: read_hotspots(path), file=path, row=3, column="position", text="in row 2 already"
    )
    path = table(tmp_path, "FGFR3\tprotein\t249\tS\tC", header=HEADER.removesuffix("\tsource"))
    refused(lambda: read_hotspots(path), file=path, row=1, column="source", text="missing")


def test_bad_tiers(tmp_path, refused):
    header = "gene_name\talteration_class\tprotein_change\ttier\tmeaning\tsource"
    path = table(tmp_path, "A\thotspot\t\tI-D\tm\ts", header=header)
    refused(lambda: read_tiers(path), file=path, row=2, column="tier", text="'I-D' is no tier")
    path = table(tmp_path, "A\tfusion\t\tI-A\tm\ts", header=header)
    refused(lambda: read_tiers(path), file=path, row=2, column="alteration_class", text="fusion")
    path = table(tmp_path, "A\thotspot\t\tI-A\tm\t", header=header)
    refused(lambda: read_tiers(path), file=path, row=2, column="source", text="missing")


# --- promoters ----------------------------------------------------------------------------------


def gff3(tmp_path, strand):
    """TERT with the A of its start codon at 1000 on either strand, beside a shorter isoform."""
    features = [
        ("gene", 700, 1300, "ID=gene:ENSG00000164362;Name=TERT;gene_id=ENSG00000164362"),
        ("mRNA", 700, 1300, "ID=transcript:ENST1;Parent=gene:ENSG00000164362"),
        ("mRNA", 700, 1300, "ID=transcript:ENST2;Parent=gene:ENSG00000164362"),
    ]
    coding = [(1000, 1060), (1100, 1200)] if strand == "+" else [(800, 900), (940, 1000)]
    features += [("CDS", *part, "Parent=transcript:ENST1") for part in coding]
    features += [("CDS", *coding[0], "Parent=transcript:ENST2")]
    text = "".join(
        f"5\tx\t{kind}\t{start}\t{end}\t.\t{strand}\t{0 if kind == 'CDS' else '.'}\t{rest}\n"
        for kind, start, end, rest in features
    )
    path = tmp_path / "genes.gff3"
    path.write_text("##gff-version 3\n" + text)
    return path


@pytest.fixture(params=["+", "-"])
def tert(request, tmp_path):
    places = promoter_positions(
        read_hotspots(RESOURCES / "hotspots.tsv"), coding_transcripts(gff3(tmp_path, request.param))
    )
    return request.param, places


def test_promoters_lie_upstream_on_either_strand(tert):
    strand, places = tert
    rows = places.select("position", "reference_allele", "alternate_allele").rows()
    assert rows == (
        [(854, "C", "T"), (876, "C", "T")]
        if strand == "+"
        else [(1124, "G", "A"), (1146, "G", "A")]
    )
    assert set(places["gene_name"]) == {"TERT"}


def test_hg19_coordinates_of_c228t_and_c250t():
    """The A of TERT's start codon is 5:1295104 on GRCh37; C228T and C250T bear their positions."""
    transcripts = pl.DataFrame(
        {
            "transcript_id": ["ENST00000310581"],
            "gene_id": ["ENSG00000164362"],
            "gene_name": ["TERT"],
            "chromosome": ["5"],
            "strand": ["-"],
            "start_codon": [1295104],
            "coding_length": [3399],
            "is_representative": [True],
        }
    )
    places = promoter_positions(read_hotspots(RESOURCES / "hotspots.tsv"), transcripts)
    assert set(places["position"]) == {1295228, 1295250}
    outside = pl.DataFrame({"chromosome": ["5"], "start": [1295227], "end": [1295228]})
    assert promoter_positions(read_hotspots(RESOURCES / "hotspots.tsv"), transcripts, outside)[
        "position"
    ].to_list() == [1295228]


def variants(*rows):
    """Rows of chromosome, position, alleles, gene, consequence; the rest empty."""
    columns = (
        *("chromosome", "position", "reference_allele", "alternate_allele"),
        *("gene_name", "consequence", "alteration_class"),
    )
    frame = pl.DataFrame(
        [dict(zip(columns, row, strict=True)) | {"patient": "p"} for row in rows],
        schema={name: SOMATIC_SCHEMA[name] for name in ("patient", *columns)},
    )
    return frame.with_columns(
        pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in SOMATIC_SCHEMA.items()
        if name not in frame.columns
    ).select(list(SOMATIC_SCHEMA))


@pytest.mark.parametrize("chromosome", ["5", "chr5"])
def test_promoter_variants_are_recognised(tert, chromosome):
    strand, places = tert
    position, reference, alternate = (876, "C", "T") if strand == "+" else (1124, "G", "A")
    found = mark_promoters(
        variants(
            (chromosome, position, reference, alternate, None, None, "noncoding"),
            (chromosome, position, reference, "C" if alternate != "C" else "G", None, None, "x"),
            (chromosome, position + 1, reference, alternate, None, None, "noncoding"),
            ("6", position, reference, alternate, None, None, "noncoding"),
            # The neighbouring base changes with it.
            (
                chromosome,
                position - 1,
                "A" + reference,
                "T" + alternate,
                "TERT",
                "5_prime_utr",
                "n",
            ),
            (chromosome, position, reference, reference + "A", None, None, "noncoding"),
        ),
        places,
    )
    promoter = found.filter(alteration_class="promoter")
    assert sorted(promoter["position"]) == [position - 1, position]
    assert set(promoter["gene_name"]) == {"TERT"}
    assert promoter.filter(position=position - 1)["consequence"].item() == "5_prime_utr"
    assert found.height == 6
    assert found.schema == SOMATIC_SCHEMA


def test_a_promoter_within_another_gene_keeps_that_genes_row(tert):
    strand, places = tert
    position, reference, alternate = (876, "C", "T") if strand == "+" else (1124, "G", "A")
    site = ("5", position, reference, alternate)
    found = mark_promoters(
        variants((*site, "OTHER", "intron", "noncoding"), (*site, "THIRD", "missense", "missense")),
        places,
    )
    assert sorted(found.select("gene_name", "alteration_class").rows()) == [
        ("OTHER", "noncoding"),
        ("TERT", "promoter"),
        ("THIRD", "missense"),
    ]
    assert found.filter(gene_name="TERT")["consequence"].item() is None


# --- tiers --------------------------------------------------------------------------------------


def test_the_highest_tier_counts(tmp_path):
    header = "gene_name\talteration_class\tprotein_change\ttier\tmeaning\tsource"
    path = table(
        tmp_path,
        "A\thotspot\t\tIII-A\tm\ts",
        "A\thotspot\tS249C\tI-A\tm\ts",
        "A\thotspot\tR1C\tV\tm\ts",
        "B\ttruncating\t\tII-B\tm\ts",
        header=header,
        name="tiers.tsv",
    )
    frame = pl.DataFrame(
        [
            ("A", "hotspot", "S249C"),
            ("A", "hotspot", "R1C"),
            ("A", "missense", "S249C"),
            ("B", "truncating", None),
            ("C", "hotspot", "S249C"),
            (None, "noncoding", None),
        ],
        schema=["gene_name", "alteration_class", "protein_change"],
        orient="row",
    )
    assert with_tiers(frame, read_tiers(path))["tier"].to_list() == [
        *("I-A", "III-A", None, "II-B", None, None)
    ]
    known = load_known_alterations(RESOURCES / "hotspots.tsv", path)
    assert (known.promoters.height, known.transcripts.height, known.tiers.height) == (0, 0, 4)


# --- notations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("S249C", [(249, "S", "C")]),
        ("R280*", [(280, "R", "*")]),
        ("*394L", []),
        ("K2_W3delinsNR", [(2, "K", "N"), (3, "W", "R")]),
        ("K2_D4delinsNQR", [(2, "K", "N"), (3, None, "Q"), (4, "D", "R")]),
        ("248_249RS>RC", [(249, "S", "C")]),
        ("159_160FG>L", [(159, "F", None)]),
        ("N146del", [(146, "N", None)]),
        ("E746_A750del", [(746, "E", None)]),
        ("Y772_A775dup", [(772, "Y", None)]),
        ("G85fs", []),
        ("S271fs*12", []),
        ("K2=", []),
        ("T125T", []),
        ("?", []),
        ("", []),
    ],
)
def test_changed_residues(change, expected):
    found = changed_residues(pl.Series([change, change, None]))
    assert found.drop("protein_change").rows() == expected
