"""Contigs of a genome, and whether a file speaks of the same genome."""

from __future__ import annotations

import gzip
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "Contigs",
    "build_of_lengths",
    "build_of_number",
    "build_of_text",
    "differences",
    "genome_contigs",
    "other_names",
    "read_index",
    "target_contigs",
]

# Length of chromosome 1 (NCBI Assembly GCF_000001405.12, .13, .26; GCA_009914755.4;
# GCF_000001635.20, .27). It tells these builds apart.
_BUILD_OF_CHROMOSOME_1 = {
    247_249_719: "NCBI36 (hg18)",
    249_250_621: "GRCh37 (hg19)",
    248_956_422: "GRCh38 (hg38)",
    248_387_328: "T2T-CHM13",
    195_471_971: "GRCm38 (mm10)",
    195_154_279: "GRCm39 (mm39)",
}
_BUILD_OF_WORD = {
    "ncbi36": "NCBI36 (hg18)",
    "hg18": "NCBI36 (hg18)",
    "grch37": "GRCh37 (hg19)",
    "hg19": "GRCh37 (hg19)",
    "b37": "GRCh37 (hg19)",
    "hs37d5": "GRCh37 (hg19)",
    "grch38": "GRCh38 (hg38)",
    "hg38": "GRCh38 (hg38)",
    "hs38": "GRCh38 (hg38)",
    "chm13": "T2T-CHM13",
    "grcm38": "GRCm38 (mm10)",
    "mm10": "GRCm38 (mm10)",
    "grcm39": "GRCm39 (mm39)",
    "mm39": "GRCm39 (mm39)",
}


@dataclass(frozen=True)
class Contigs:
    """Contigs of a genome or of a file's header, in their order.

    Parameters
    ----------
    lengths
        Name to length in bases; None where the header does not give it.
    checksums
        Name to the MD5 of the upper-case sequence (SAM specification 1.6, @SQ M5), where known.
    source
        The file that says so.
    """

    lengths: Mapping[str, int | None]
    checksums: Mapping[str, str] = field(default_factory=dict)
    source: str = ""


def read_index(path: Path | str) -> Contigs:
    """Read the contigs of a FASTA index (``.fai``)."""
    rows = (line.split("\t") for line in Path(path).read_text(encoding="utf-8").splitlines())
    return Contigs({row[0]: int(row[1]) for row in rows if len(row) > 1}, source=str(path))


def genome_contigs(genome: Path | str | None) -> Contigs | None:
    """Find the contigs of a FASTA without reading its sequences.

    Reading a whole genome takes half a minute, too long before every run, so only the index
    (``.fai``) and the sequence dictionary (``.dict``) beside it are looked at.

    Returns
    -------
    Contigs or None
        None where neither is there; the check is then left to the jobs, which make the index.
    """
    if genome is None:
        return None
    fasta = Path(genome)
    stem = fasta.with_suffix("") if fasta.suffix in (".gz", ".bgz") else fasta
    index = Path(f"{fasta}.fai")
    dictionary = next(
        (
            path
            for path in (stem.with_suffix(".dict"), Path(f"{stem}.dict"), Path(f"{fasta}.dict"))
            if path.is_file()
        ),
        None,
    )
    try:
        listed = _read_dictionary(dictionary) if dictionary is not None else None
        if not index.is_file():
            return listed
        contigs = read_index(index)
    except (OSError, ValueError, KeyError):
        # The workflow makes an index of its own, so a broken one beside the genome is no fault.
        return None
    if listed is None:
        return contigs
    checksums = {
        name: checksum
        for name, checksum in listed.checksums.items()
        # A dictionary left behind by another genome must not speak for this one.
        if listed.lengths[name] == contigs.lengths.get(name)
    }
    return Contigs(contigs.lengths, checksums, contigs.source)


def _read_dictionary(path: Path) -> Contigs:
    lengths: dict[str, int | None] = {}
    checksums = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("@SQ\t"):
            tags = dict(part.split(":", 1) for part in line.split("\t")[1:] if ":" in part)
            lengths[tags["SN"]] = int(tags["LN"])
            if "M5" in tags:
                checksums[tags["SN"]] = tags["M5"].lower()
    return Contigs(lengths, checksums, str(path))


def target_contigs(targets: Path | str | None) -> frozenset[str] | None:
    """Names of the contigs that a BED file touches; None where there is no file."""
    if targets is None or not Path(targets).is_file():
        return None
    opener = gzip.open if str(targets).endswith(".gz") else open
    with opener(targets, "rt", encoding="utf-8", errors="replace") as lines:
        names = {line.split("\t", 1)[0].rstrip() for line in lines if line[0] not in "#\r\n"}
    return frozenset(name for name in names if name.split(" ")[0] not in ("track", "browser"))


def build_of_lengths(lengths: Mapping[str, int | None]) -> str | None:
    """Name the well-known build that a chromosome 1 of this length belongs to."""
    for name in ("chr1", "1"):
        if (length := lengths.get(name)) is not None:
            return _BUILD_OF_CHROMOSOME_1.get(length)
    return None


def build_of_text(text: str) -> str | None:
    """Name the well-known build that a text such as ``##reference=…/hg19.fa`` speaks of."""
    lower = text.lower()
    return next((build for word, build in _BUILD_OF_WORD.items() if word in lower), None)


def build_of_number(text: str) -> str | None:
    """Name the human build that a bare number such as a MAF's ``37`` speaks of."""
    return build_of_text(f"grch{text.strip()}") or build_of_text(f"ncbi{text.strip()}")


def other_names(given: Mapping[str, int | None], genome: Contigs) -> dict[str, str]:
    """Map contigs that only differ from the genome's by ``chr`` in the name.

    Returns
    -------
    dict
        Name in the file to name in the genome, where the length agrees or is not known; ``chrM``
        stands for ``MT`` and back. Names that the genome has are not in it.
    """
    renamed = {}
    for name, length in given.items():
        if name in genome.lengths:
            continue
        bare = name.removeprefix("chr")
        candidate = {"chrM": "MT", "MT": "chrM", "M": "chrM"}.get(
            name, bare if bare != name else f"chr{name}"
        )
        if candidate in genome.lengths and length in (None, genome.lengths[candidate]):
            renamed[name] = candidate
    return renamed


def differences(
    given: Contigs, genome: Contigs, called: Collection[str] | None = None
) -> tuple[list[str], list[str]]:
    """Compare a file's contigs with the genome's, where variants are called.

    Contigs that only the file has (decoys, viruses, alternate loci) do no harm: nothing is called
    on them. A contig of the genome that the file lacks, or has with another length or sequence,
    means that reads or calls there belong to another genome: positions would be silently wrong.

    Parameters
    ----------
    given, genome
        The file's contigs, and those of the study's genome.
    called
        Names of the contigs that hold targets; None where the whole genome is called.

    Returns
    -------
    absent, different
        Names of contigs that the file lacks; descriptions of those that differ.
    """
    names = [name for name in genome.lengths if called is None or name in called]
    absent = [name for name in names if name not in given.lengths]
    different = []
    for name in names:
        if name not in given.lengths:
            continue
        length, expected = given.lengths[name], genome.lengths[name]
        if length is not None and expected is not None and length != expected:
            different.append(f"{name} has {length:,} bases there and {expected:,} in the genome")
        elif (
            name in given.checksums
            and name in genome.checksums
            and given.checksums[name] != genome.checksums[name]
        ):
            different.append(f"{name} has another sequence there (M5 {given.checksums[name]})")
    return absent, different
