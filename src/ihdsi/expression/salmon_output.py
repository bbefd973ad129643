"""Folders that salmon wrote, here or before: where the estimates are, and what is told of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

__all__ = ["QUANTIFICATION_COLUMNS", "output_fault", "quantification_file", "salmon_metrics"]

#: Header of ``quant.sf`` (salmon's documentation, "Salmon Output File Formats").
QUANTIFICATION_COLUMNS = ("Name", "Length", "EffectiveLength", "TPM", "NumReads")


def quantification_file(folder: Path | str) -> str:
    """Return the path of a folder's estimates: ``quant.sf``, or ``quant.sf.gz`` if only that is."""
    plain = Path(folder) / "quant.sf"
    packed = Path(folder) / "quant.sf.gz"
    return str(packed if packed.is_file() and not plain.is_file() else plain)


def output_fault(folder: Path | str) -> tuple[str, str] | None:
    """Say what keeps a folder from being salmon's, by its first lines, and what to do.

    Returns
    -------
    tuple of str, or None
        What is wrong and the remedy; None if transcripts stand there as salmon writes them.
    """
    if Path(folder).is_file():
        return f"{folder} is a file", "Name the folder that salmon wrote (it holds quant.sf)."
    path = quantification_file(folder)
    opener = gzip.open if path.endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            header = tuple(next(lines, "").rstrip("\n").split("\t"))
            first = next(lines, "")
    except FileNotFoundError:
        return (
            f"{folder} holds no quant.sf",
            "Name the folder that salmon wrote; of nf-core/rnaseq it is salmon/<sample>.",
        )
    except (OSError, ValueError, EOFError) as error:
        return f"the file {path} cannot be read ({error})", "Copy it again, or run salmon again."
    absent = [name for name in QUANTIFICATION_COLUMNS if name not in header]
    if absent:
        return (
            f"{path} lacks the column {absent[0]}",
            "Give salmon's quant.sf of transcripts, as it was written.",
        )
    if not first.strip():
        return f"{path} lists no transcript", "Run salmon again for this sample."
    return None


def salmon_metrics(meta_info: Path | str) -> dict[str, float]:
    """Read mapping_rate_percent and read_pairs from salmon's ``aux_info/meta_info.json``."""
    meta = json.loads(Path(meta_info).read_text(encoding="utf-8"))
    return {
        "mapping_rate_percent": float(meta["percent_mapped"]),
        "read_pairs": float(meta["num_processed"]),
    }
