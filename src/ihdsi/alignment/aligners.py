"""The aligners that a study can choose: how each is called, and what it needs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

__all__ = ["ALIGNERS", "Aligner"]


@dataclass(frozen=True)
class Aligner:
    """One program that aligns reads to the indexed genome.

    Attributes
    ----------
    name
        The study's word for it, and the command.
    command
        The call up to the options that all aligners here share: ``-t THREADS`` and
        ``-R READ_GROUP``, then the index and one or two files of reads.
    stream_options
        Options with which it reads one stream in which mates follow each other and single reads
        may stand between, and copies the tags behind a read's name into its alignment.
    index_suffixes
        What the files of its index are called behind their common start.
    index_is_prefix
        Whether the aligner is given that common start (or the one file itself).
    memory_mb
        Memory of an alignment to a human genome with its sorting, in MB.
    in_debian
        Whether Debian has it; what it lacks comes with the conda environment.
    """

    name: str
    command: str
    stream_options: str
    index_suffixes: tuple[str, ...]
    index_is_prefix: bool
    memory_mb: int
    in_debian: bool = True

    def index_files(self, folder: str) -> list[str]:
        """Files of the index of ``genome`` below the reference folder `folder`."""
        return [f"{folder}/{self.name}/genome{suffix}" for suffix in self.index_suffixes]

    def index_argument(self, folder: str) -> str:
        """Name of the index as the command takes it."""
        suffix = "" if self.index_is_prefix else self.index_suffixes[0]
        return f"{folder}/{self.name}/genome{suffix}"

    def is_absent(self) -> bool:
        """Whether this machine does not have the command."""
        return shutil.which(self.name) is None

    @property
    def remedy(self) -> str:
        """What to do where the command is absent."""
        return (
            f"The study aligns with {self.name} (alignment.aligner), which is not installed here. "
            + ("" if self.in_debian else "Debian has no package of it. ")
            + "Run with --software-deployment-method conda, which brings it from "
            "envs/alignment.yaml, or put the command on the PATH."
        )


# bwa counts insert sizes per batch of reads, and the batch by default grows with the threads; with
# -K the alignments are the same on every machine.
_BWA_OPTIONS = "mem -K 100000000"

ALIGNERS: dict[str, Aligner] = {
    aligner.name: aligner
    for aligner in (
        Aligner(
            name="bwa",
            command=f"bwa {_BWA_OPTIONS}",
            stream_options="-p -C",
            index_suffixes=(".amb", ".ann", ".bwt", ".pac", ".sa"),
            index_is_prefix=True,
            memory_mb=12000,
        ),
        Aligner(
            name="bwa-mem2",
            command=f"bwa-mem2 {_BWA_OPTIONS}",
            stream_options="-p -C",
            index_suffixes=(".0123", ".amb", ".ann", ".bwt.2bit.64", ".pac"),
            index_is_prefix=True,
            memory_mb=32000,
            in_debian=False,
        ),
        Aligner(
            name="minimap2",
            command="minimap2 -ax sr",
            # In one file, neighbours of the same name are mates to it without being told.
            stream_options="-y",
            index_suffixes=(".mmi",),
            index_is_prefix=False,
            memory_mb=16000,
        ),
    )
}
