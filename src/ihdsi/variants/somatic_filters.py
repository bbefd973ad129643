r"""Decide which calls of a tumour are somatic, and say why the others are not.

The model is MuTect's (Cibulskis et al. 2013, Nat Biotechnol 31:213): log10 odds of the allele
fraction seen against error in the tumour (TLOD), and of no variant against a heterozygous one in
the normal (NLOD), with a higher demand at known germline alleles. Germline calls of a tumour
without a normal, the median distance from read ends and the panel of normals follow Mutect2
(Benjamin et al. 2019, bioRxiv 861054). freebayes only proposes alleles; its QUAL and genotypes
are not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pysam
from cyvcf2 import VCF
from numpy.typing import ArrayLike, NDArray

from ihdsi.errors import InputError, Problem
from ihdsi.files import atomic_output
from ihdsi.study import SomaticFilters
from ihdsi.variants.known_alleles import KnownAlleles
from ihdsi.variants.multinucleotide import (
    join_substitutions,
    neighbouring_pairs,
    pairs_in_one_codon,
    read_coding_sequences,
    shared_reads,
)
from ihdsi.variants.panel_of_normals import ALLELE, needed_normals, read_alleles
from ihdsi.variants.read_support import end_distances, read_support
from ihdsi.variants.slippage import repeat_units, slippage_log_odds
from ihdsi.variants.strand_bias import fisher_exact_p_values
from ihdsi.variants.tumour_only import germline_log_odds

__all__ = ["FILTERS", "SomaticEvidence", "filter_somatic_calls", "judge", "log_odds"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: What each FILTER means, in the order in which they are listed.
FILTERS = {
    "tumour_lod": "Too little evidence for the variant in the tumour",
    "normal_lod": "The normal does not exclude a heterozygous germline variant",
    "known_germline": "Known germline allele that the normal does not exclude clearly enough",
    "normal_fraction": "The alternate allele is too frequent in the normal",
    "depth": "Too few reads in tumour or normal",
    "alternate_depth": "Too few reads with the alternate allele in the tumour",
    "allele_fraction": "Allele fraction in the tumour too low",
    "base_quality": "Mean base quality of the alternate reads too low",
    "mapping_quality": "Mean mapping quality of the alternate reads too low",
    "strand_bias": "Alternate reads lie on one strand more than reference reads do",
    "position": "The allele lies at the ends of its reads",
    "slippage": "Indel of a repeat unit, no more frequent than polymerase slippage may be",
    "panel_of_normals": "Other normals show the allele too",
    "likely_germline": "No normal, and the tumour's reads or the population speak for germline",
}
_INFO = {
    "TLOD": ("1", "Float", "log10 odds of the allele fraction seen against error in the tumour"),
    "NLOD": ("1", "Float", "log10 odds in the normal of no variant against heterozygous"),
    "GLOD": ("1", "Float", "log10 posterior odds of germline against somatic, without a normal"),
    "SBP": ("1", "Float", "p-value of Fisher's exact test of strand by allele"),
    "MBQ": ("1", "Float", "Mean base quality of the alternate reads of the tumour"),
    "MMQ": ("1", "Float", "Mean mapping quality of the alternate reads"),
    "MPOS": ("1", "Float", "Median distance of the allele from the end of its reads"),
    "RPU": ("1", "Integer", "Repeat units in the reference where an indel adds or removes some"),
    "PON": ("1", "Integer", "Other normals of the site that show the allele"),
    "POPAF": ("1", "Float", "Frequency of the allele in the germline resource"),
    "MNV": (".", "String", "Substitutions on the same reads that were joined"),
}
#: Records that are judged together.
BLOCK = 50_000
#: Base qualities outside are not believed.
LOWEST_QUALITY, HIGHEST_QUALITY = 2.0, 40.0
_MISSING = np.iinfo(np.int32).min


def log_odds(
    reference_depth: ArrayLike,
    alternate_depth: ArrayLike,
    reference_error: ArrayLike,
    alternate_error: ArrayLike,
    fraction: ArrayLike,
    against: ArrayLike,
) -> Floats:
    r"""Log10 likelihood ratio of two allele fractions, given read counts.

    The likelihood of reads at allele fraction f with per-base error e is
    :math:`\prod_{ref} (f e/3 + (1-f)(1-e)) \prod_{alt} (f(1-e) + (1-f)e/3)`
    (Cibulskis et al. 2013, Nat Biotechnol 31:213, MuTect, equations 1 and 2). One e stands for
    all reads of an allele: 10^(-Q/10) of their mean quality Q. For f = 0 and the alternate reads
    this is exact, because the product of errors is that of their geometric mean.

    Parameters
    ----------
    reference_depth, alternate_depth
        Reads with the reference and with the alternate allele.
    reference_error, alternate_error
        Probability that a base is wrong, in reads of each allele.
    fraction, against
        The two allele fractions; positive results favour `fraction`.

    All are numbers or arrays of shape (n,), and so is the result.
    """
    n_reference, n_alternate = np.asarray(reference_depth), np.asarray(alternate_depth)
    e_reference, e_alternate = np.asarray(reference_error), np.asarray(alternate_error)

    def likelihood(fraction: ArrayLike) -> Floats:
        f = np.asarray(fraction)
        reference = f * e_reference / 3 + (1 - f) * (1 - e_reference)
        alternate = f * (1 - e_alternate) + (1 - f) * e_alternate / 3
        result: Floats = n_reference * np.log10(np.maximum(reference, 1e-300)) + (
            n_alternate * np.log10(np.maximum(alternate, 1e-300))
        )
        return result

    return likelihood(fraction) - likelihood(against)


@dataclass(frozen=True)
class SomaticEvidence:
    """What is known beside the calls themselves; each part may be absent.

    Attributes
    ----------
    alignment
        The tumour's indexed alignment, for the position in reads and for substitutions on the
        same reads.
    genome, annotation
        FASTA with index and GFF3, for repeats and multi-nucleotide variants; without an annotation
        only adjacent substitutions are joined.
    germline_resource
        VCF of population variants with INFO/AF.
    site_panel
        Result of `write_panel_of_normals`.
    n_normals
        Normals in `site_panel`, the patient's own included where it is in the panel.
    own_alleles
        Alleles that the patient's own normal shows (`read_alleles`), where it is in the panel: it
        does not count.
    panel_of_normals
        Given VCF, all of whose alleles are filtered.
    """

    alignment: Path | str | None = None
    genome: Path | str | None = None
    annotation: Path | str | None = None
    germline_resource: Path | str | None = None
    site_panel: Path | str | None = None
    n_normals: int = 0
    own_alleles: Sequence[Path | str] = ()
    panel_of_normals: Path | str | None = None


def filter_somatic_calls(
    calls: Path | str,
    output: Path | str,
    tumour: str,
    normal: str | None,
    settings: SomaticFilters,
    evidence: SomaticEvidence = SomaticEvidence(),
) -> None:
    """Write FILTER, the reasons (INFO) and a plain FORMAT (GT, DP, AD) to freebayes calls.

    Parameters
    ----------
    calls
        freebayes VCF, normalised: one alternate allele a record, sorted.
    output
        bgzipped VCF (``.vcf.gz``), indexed. The tumour is its first sample; QUAL is empty.
        AD is reference and alternate reads, DP all reads: those of other alleles are in DP only.
    tumour, normal
        Names of the samples; None for a tumour without normal, whose likely germline variants are
        marked.
    settings
        The study's thresholds.
    evidence
        Everything else that the filters look at.

    Raises
    ------
    InputError
        If `calls` does not hold exactly these samples, or a file of `evidence` is not usable.
    """
    source = VCF(str(calls))
    names = list(source.samples)
    wanted = [tumour] if normal is None else [tumour, normal]
    if sorted(names) != sorted(wanted):
        raise InputError(
            Problem(
                f"the calls need the samples {' and '.join(wanted)}; found "
                f"{', '.join(names) or 'none'}",
                "Give tumour and normal different sample names (SM) in their read groups, for "
                "example with samtools addreplacerg.",
                file=calls,
            )
        )
    contigs = [line for line in source.raw_header.splitlines() if line.startswith("##contig=")]
    with ExitStack() as stack:
        judges = _Judges.open(stack, evidence, settings, list(source.seqnames))
        temporary = stack.enter_context(atomic_output(output))
        with pysam.BGZFile(str(temporary), "wb", index=None) as target:
            target.write(_header(contigs, wanted).encode())
            for block in _read_blocks(source, tumour, normal):
                judged = judges.judge(block, tumour_only=normal is None)
                target.write(_lines(judged, paired=normal is not None).encode())
        pysam.tabix_index(str(temporary), preset="vcf", force=True, keep_original=True)
        Path(f"{temporary}.tbi").replace(f"{output}.tbi")


def _header(contigs: Sequence[str], samples: Sequence[str]) -> str:
    lines = [
        "##fileformat=VCFv4.2",
        '##FILTER=<ID=PASS,Description="All filters passed: somatic">',
        *(f'##FILTER=<ID={name},Description="{text}">' for name, text in FILTERS.items()),
        *contigs,
        *(
            f'##INFO=<ID={name},Number={number},Type={kind},Description="{text}">'
            for name, (number, kind, text) in _INFO.items()
        ),
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
        '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Reads of all alleles">',
        '##FORMAT=<ID=AD,Number=R,Type=Integer,Description="Reads per allele">',
        "\t".join(["#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT", *samples]),
    ]
    return "".join(f"{line}\n" for line in lines)


# --- reading ------------------------------------------------------------------------------------

_SAMPLE_FIELDS = {
    "depth": "DP",
    "reference": "RO",
    "alternate": "AO",
    "reference_quality": "QR",
    "alternate_quality": "QA",
}
_STRANDS = ("SRF", "SRR", "SAF", "SAR")


def _schema(samples: Sequence[str]) -> dict[str, Any]:
    return {
        **dict(zip(ALLELE, (pl.String, pl.Int64, pl.String, pl.String), strict=True)),
        "mapping_quality": pl.Float64,
        **dict.fromkeys(_STRANDS, pl.Int64),
        **{f"{sample}_{name}": pl.Int64 for sample in samples for name in _SAMPLE_FIELDS},
    }


def _read_blocks(source: VCF, tumour: str, normal: str | None) -> Iterator[pl.DataFrame]:
    """Read calls; neighbours, which may have to be joined, stay in one block."""
    columns = {"tumour": source.samples.index(tumour)}
    if normal is not None:
        columns["normal"] = source.samples.index(normal)
    schema = _schema(list(columns))
    fields = [(tag, column) for column in columns.values() for tag in _SAMPLE_FIELDS.values()]
    rows: list[tuple[Any, ...]] = []
    last = ("", 0)
    for record in source:
        if len(record.ALT) != 1 or not record.ALT[0].isalpha():
            continue
        here = (record.CHROM, record.POS)
        if len(rows) >= BLOCK and (here[0] != last[0] or here[1] - last[1] > BORDER):
            yield _merged(pl.DataFrame(rows, schema=schema, orient="row"))
            rows = []
        last = here
        info = record.INFO
        values = {tag: record.format(tag) for tag in _SAMPLE_FIELDS.values()}
        rows.append(
            (
                *here,
                record.REF.upper(),
                record.ALT[0].upper(),
                float(_first(info.get("MQM"))),
                *(int(_first(info.get(tag))) for tag in _STRANDS),
                *(_count(values[tag], column) for tag, column in fields),
            )
        )
    yield _merged(pl.DataFrame(rows, schema=schema, orient="row"))


#: Records this far apart cannot be joined.
BORDER = 2


def _first(value: Any) -> Any:  # noqa: ANN401 - cyvcf2 gives a scalar or a tuple
    value = value[0] if isinstance(value, tuple) else value
    return 0 if value is None else value


def _count(values: NDArray[np.int32] | None, column: int) -> int:
    value = _MISSING if values is None else int(values[column, 0])
    return max(value, 0)


def _merged(calls: pl.DataFrame) -> pl.DataFrame:
    """Add up records of one allele, which come of decomposing several complex alleles of a site.

    Reads of different alleles are different reads; the reference's are the same ones.
    """
    if calls.select(ALLELE).is_unique().all():
        return calls
    added = [c for c in calls.columns if "alternate" in c and c not in ALLELE] + ["SAF", "SAR"]
    alternate = pl.sum_horizontal(pl.col(c) for c in calls.columns if c.endswith("_alternate"))
    weight = pl.max_horizontal(alternate, pl.lit(1))
    largest = [c for c in calls.columns if c not in (*ALLELE, *added, "mapping_quality")]
    return (
        calls.group_by(ALLELE, maintain_order=True)
        .agg(
            (pl.col("mapping_quality") * weight).sum() / weight.sum(),
            pl.col(added).sum(),
            pl.col(largest).max(),
        )
        .select(calls.columns)
    )


# --- judging ------------------------------------------------------------------------------------


def _error(quality_sum: Floats, depth: Floats) -> Floats:
    quality = np.divide(
        quality_sum, depth, out=np.full(len(depth), LOWEST_QUALITY), where=depth > 0
    )
    error: Floats = 10 ** (-np.clip(quality, LOWEST_QUALITY, HIGHEST_QUALITY) / 10)
    return error


def judge(
    calls: pl.DataFrame,
    settings: SomaticFilters,
    *,
    tumour_only: bool,
    population_frequency: Floats | None = None,
    other_normals: NDArray[np.int64] | None = None,
    n_others: int = 0,
    in_panel: Mask | None = None,
) -> tuple[dict[str, Mask], dict[str, Floats]]:
    """Apply all filters that need no reads, to arrays.

    Parameters
    ----------
    calls
        `ALLELE`, mapping_quality, SRF, SRR, SAF, SAR (reads by allele and strand; freebayes counts
        these over tumour and normal, and of a somatic allele nearly all are the tumour's) and,
        with the prefix ``tumour_`` and ``normal_``, depth, reference, alternate, reference_quality,
        alternate_quality (sums of Phred).
    settings
        The study's thresholds.
    tumour_only
        There is no normal: mark likely germline calls.
    population_frequency
        Of each allele, NaN where not known; None without a resource.
    other_normals, n_others
        How many other normals of the site show each allele, and of how many.
    in_panel
        Whether a given panel of normals holds the allele.

    Returns
    -------
    tuple
        Filter to a mask of the calls that fail it, and the numbers behind them by INFO key.
    """
    n = calls.height

    def numbers(name: str) -> Floats:
        return calls[name].to_numpy().astype(np.float64)

    reference, alternate = numbers("tumour_reference"), numbers("tumour_alternate")
    depth = np.maximum(numbers("tumour_depth"), reference + alternate)
    fraction = np.divide(alternate, depth, out=np.zeros(n), where=depth > 0)
    quality = numbers("tumour_alternate_quality") / np.maximum(alternate, 1)
    reference_error = _error(numbers("tumour_reference_quality"), reference)
    alternate_error = _error(numbers("tumour_alternate_quality"), alternate)
    # Reads of other alleles say nothing of this one against the reference.
    between_two = np.divide(
        alternate, reference + alternate, out=np.zeros(n), where=reference + alternate > 0
    )
    found: dict[str, Floats] = {
        "TLOD": log_odds(reference, alternate, reference_error, alternate_error, between_two, 0.0),
        "SBP": fisher_exact_p_values(calls.select(_STRANDS).to_numpy()),
        "MBQ": quality,
        "MMQ": numbers("mapping_quality"),
    }
    failed = {
        "tumour_lod": found["TLOD"] < settings.minimum_tumour_lod,
        "depth": depth < settings.minimum_depth,
        "alternate_depth": alternate < settings.minimum_alternate_depth,
        "allele_fraction": fraction < settings.minimum_allele_fraction,
        "base_quality": quality < settings.minimum_base_quality,
        "mapping_quality": found["MMQ"] < settings.minimum_mapping_quality,
        "strand_bias": found["SBP"] < settings.minimum_strand_p_value,
    }
    frequency = np.full(n, np.nan) if population_frequency is None else population_frequency
    if population_frequency is not None:
        found["POPAF"] = frequency
    known = frequency >= settings.known_germline_frequency
    if tumour_only:
        unknown = (
            settings.heterozygosity / 2
            if population_frequency is None
            else settings.unlisted_population_frequency
        )
        found["GLOD"] = germline_log_odds(
            reference,
            alternate,
            alternate_error,
            np.where(np.isnan(frequency), unknown, np.maximum(frequency, unknown)),
            settings.somatic_prior,
        )
        failed["likely_germline"] = known | (found["GLOD"] > settings.maximum_germline_lod)
    else:
        failed |= _against_normal(calls, numbers, fraction, known, settings, found)
        failed["depth"] |= (
            np.maximum(
                numbers("normal_depth"), numbers("normal_reference") + numbers("normal_alternate")
            )
            < settings.minimum_depth
        )
    in_panels = np.zeros(n, dtype=bool) if in_panel is None else in_panel
    if other_normals is not None:
        found["PON"] = other_normals.astype(np.float64)
        in_panels = in_panels | (
            other_normals
            >= needed_normals(
                n_others, settings.minimum_panel_normals, settings.minimum_panel_share
            )
        )
    failed["panel_of_normals"] = in_panels
    return failed, found


def _against_normal(
    calls: pl.DataFrame,
    numbers: Any,  # noqa: ANN401 - a column as array
    fraction: Floats,
    known: Mask,
    settings: SomaticFilters,
    found: dict[str, Floats],
) -> dict[str, Mask]:
    reference, alternate = numbers("normal_reference"), numbers("normal_alternate")
    depth = np.maximum(numbers("normal_depth"), reference + alternate)
    found["NLOD"] = log_odds(
        reference,
        alternate,
        _error(numbers("normal_reference_quality"), reference),
        _error(numbers("normal_alternate_quality"), alternate),
        0.0,
        0.5,
    )
    normal_fraction = np.divide(alternate, depth, out=np.zeros(calls.height), where=depth > 0)
    return {
        "normal_lod": found["NLOD"] < settings.minimum_normal_lod,
        "known_germline": known & (found["NLOD"] < settings.minimum_normal_lod_known),
        # A subclone's DNA or index hopping leaves a trace in the normal; a germline variant is
        # far above it, so the limit scales with the tumour's own fraction.
        "normal_fraction": normal_fraction
        > np.maximum(settings.maximum_normal_fraction, settings.maximum_normal_ratio * fraction),
    }


@dataclass
class _Judges:
    """Open files of the evidence, and the judgement of one block."""

    evidence: SomaticEvidence
    settings: SomaticFilters
    resource: KnownAlleles | None
    site_panel: KnownAlleles | None
    given_panel: KnownAlleles | None
    own_alleles: pl.DataFrame | None
    genome: pysam.FastaFile | None
    coding: pl.DataFrame | None = field(default=None)

    @classmethod
    def open(
        cls,
        stack: ExitStack,
        evidence: SomaticEvidence,
        settings: SomaticFilters,
        contigs: list[str],
    ) -> _Judges:
        def known(path: Path | str | None, name: str | None) -> KnownAlleles | None:
            return None if path is None else stack.enter_context(KnownAlleles(path, name, contigs))

        own = [read_alleles(path) for path in evidence.own_alleles]
        genome = None
        if evidence.genome is not None:
            genome = stack.enter_context(pysam.FastaFile(str(evidence.genome)))
        return cls(
            evidence,
            settings,
            known(evidence.germline_resource, "AF"),
            known(evidence.site_panel, "N"),
            known(evidence.panel_of_normals, None),
            pl.concat(own).unique() if own else None,
            genome,
        )

    def judge(self, calls: pl.DataFrame, tumour_only: bool) -> pl.DataFrame:
        """Add the column `filter` (names, or PASS) and those of INFO, and join substitutions."""
        failed, found = judge(
            calls,
            self.settings,
            tumour_only=tumour_only,
            population_frequency=None if self.resource is None else self.resource.values(calls),
            other_normals=None if self.site_panel is None else self._others(calls),
            n_others=self.evidence.n_normals - (self.own_alleles is not None),
            in_panel=(
                None if self.given_panel is None else ~np.isnan(self.given_panel.values(calls))
            ),
        )
        passing = ~np.logical_or.reduce(list(failed.values()))
        if self.genome is not None:
            found["RPU"], failed["slippage"] = self._slippage(calls, passing)
            passing &= ~failed["slippage"]
        if self.evidence.alignment is not None:
            distance = np.full(calls.height, np.nan)
            distance[passing] = end_distances(
                self._support(calls.filter(pl.Series(passing))), int(passing.sum())
            )
            found["MPOS"] = distance
            failed["position"] = distance < self.settings.minimum_end_distance
            passing &= ~failed["position"]
        reasons = pl.DataFrame({name: failed[name] for name in FILTERS if name in failed})
        names = pl.concat_str(
            (pl.when(name).then(pl.lit(name)) for name in reasons.columns),
            separator=";",
            ignore_nulls=True,
        ).replace("", "PASS")
        judged = calls.with_columns(
            reasons.select(names).to_series().alias("filter"),
            *(pl.Series(name, values, nan_to_null=True) for name, values in found.items()),
        )
        return self._join(judged)

    def _slippage(self, calls: pl.DataFrame, passing: Mask) -> tuple[Floats, Mask]:
        """Repeat units of indels that pass otherwise (NaN elsewhere), and which fail."""
        assert self.genome is not None
        candidates = (
            passing
            & (
                calls["reference_allele"].str.len_bytes()
                != calls["alternate_allele"].str.len_bytes()
            ).to_numpy()
        )
        units = np.full(calls.height, np.nan)
        units[candidates] = repeat_units(calls.filter(pl.Series(candidates)), self.genome)
        odds = slippage_log_odds(
            calls["tumour_reference"], calls["tumour_alternate"], self.settings.slippage_rate
        )
        return units, (units >= self.settings.minimum_slippage_units) & (
            odds < self.settings.minimum_tumour_lod
        )

    def _others(self, calls: pl.DataFrame) -> NDArray[np.int64]:
        assert self.site_panel is not None
        shown = np.nan_to_num(self.site_panel.values(calls)).astype(np.int64)
        if self.own_alleles is not None:
            own = (
                calls.select(ALLELE)
                .join(
                    self.own_alleles.with_columns(own=1),
                    on=ALLELE,
                    how="left",
                    maintain_order="left",
                )["own"]
                .fill_null(0)
            )
            shown = np.maximum(shown - own.to_numpy(), 0)
        return shown

    def _support(self, calls: pl.DataFrame) -> Iterator[Any]:
        assert self.evidence.alignment is not None
        return read_support(
            self.evidence.alignment,
            calls,
            self.settings.caller_mapping_quality,
            self.settings.caller_base_quality,
        )

    def _join(self, judged: pl.DataFrame) -> pl.DataFrame:
        """Join passing substitutions on the same reads."""
        without = pl.lit(None, dtype=pl.List(pl.String)).alias("components")
        if self.evidence.alignment is None or self.genome is None:
            return judged.with_columns(without)
        ordered = judged.with_row_index("order")
        passing = ordered.filter(pl.col("filter") == "PASS")
        pairs = neighbouring_pairs(passing)
        pairs = pairs[self._may_join(passing, pairs)]
        if not len(pairs):
            return judged.with_columns(without)
        rows = np.unique(pairs)
        support = dict(zip(rows.tolist(), self._support(passing[rows]), strict=True))
        linked = np.array(
            [
                shared_reads(support[first], support[second]) >= self.settings.minimum_shared_reads
                for first, second in pairs.tolist()
            ]
        )
        joined = join_substitutions(passing, pairs[linked], self.genome)
        rest = ordered.filter(pl.col("filter") != "PASS").with_columns(without)
        chromosomes = judged["chromosome"].unique(maintain_order=True)
        return (
            pl.concat([joined, rest.select(joined.columns)])
            .sort(pl.col("chromosome").cast(pl.Enum(chromosomes)), "position", "order")
            .drop("order")
        )

    def _may_join(self, passing: pl.DataFrame, pairs: NDArray[np.int64]) -> Mask:
        position = passing["position"].to_numpy()
        first, second = position[pairs[:, 0]], position[pairs[:, 1]]
        adjacent: Mask = second - first == 1
        if adjacent.all() or self.evidence.annotation is None:
            return adjacent
        if self.coding is None:
            self.coding = read_coding_sequences(self.evidence.annotation)
        chromosomes = passing["chromosome"].gather(pairs[:, 0]).to_list()
        return adjacent | pairs_in_one_codon(chromosomes, first, second, self.coding)


# --- writing ------------------------------------------------------------------------------------


def _lines(judged: pl.DataFrame, paired: bool) -> str:
    info = pl.concat_str(
        (
            pl.format(f"{name}={{}}", pl.col(name).cast(pl.Int64))
            if name in ("PON", "RPU")
            # Three significant decimals, except of small p-values and frequencies.
            else pl.format(f"{name}={{}}", pl.col(name).round_sig_figs(5))
            for name in _INFO
            if name in judged.columns
        ),
        separator=";",
        ignore_nulls=True,
    )
    joined = pl.format(";MNV={}", pl.col("components").list.join(",")).fill_null("")

    def sample(name: str, genotype: str) -> pl.Expr:
        reference, alternate = pl.col(f"{name}_reference"), pl.col(f"{name}_alternate")
        depth = pl.max_horizontal(f"{name}_depth", reference + alternate)
        return pl.format(f"{genotype}:{{}}:{{}},{{}}", depth, reference, alternate)

    samples = [sample("tumour", "0/1"), *([sample("normal", "0/0")] if paired else [])]
    template = "{}\t{}\t.\t{}\t{}\t.\t{}\t{}{}\tGT:DP:AD" + "\t{}" * len(samples) + "\n"
    lines = judged.select(
        pl.format(template, *ALLELE, "filter", info, joined, *samples).str.join("")
    )
    return str(lines.item() or "") if judged.height else ""
