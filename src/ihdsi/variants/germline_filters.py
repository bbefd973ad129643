"""Hard filters of the germline variants that are called here, as expressions of bcftools.

A record that meets an expression gets the filter's name in FILTER and stays in the file. The
sources are the guide "Filtering of VCF Files" of htslib (www.htslib.org/workflow/filter.html) for
bcftools, GATK's "Hard-filtering germline short variants" (QUAL < 30, FS > 60, MQ < 40; GATK support
article 360035890471), and Garrison's recommendation for freebayes (``QUAL / AO > 10 & SAF > 0 &
SAR > 0 & RPR > 1 & RPL > 1``).

The rank tests pool the reads of all samples, so that a z-score of the smallest real bias grows with the
square root of the depth. The limit of z is therefore 3.5 + 4·DP/QUAL, as in htslib's guide: a
variant with little quality for its depth, one that few of many samples carry, gets more room.
GATK's quality by depth (QD) has no counterpart for bcftools, whose QUAL does not grow beyond about
200 for a single carrier however deep the sequencing is.
"""

from __future__ import annotations

from ihdsi.study import GermlineFilters

__all__ = ["filter_command", "hard_filters"]


def hard_filters(settings: GermlineFilters) -> dict[str, str]:
    """Name of each filter, with the expression of the records that fail it.

    The records hold one alternate allele each (``bcftools norm --multiallelics -any``).
    """
    return {
        "low_quality": f"QUAL<{settings.minimum_quality:g}",
        **(_bcftools if settings.caller == "bcftools" else _freebayes)(settings),
    }


def _bcftools(settings: GermlineFilters) -> dict[str, str]:
    bias = f"({settings.maximum_bias:g}+4*INFO/DP/QUAL)"
    return {
        "low_mapping_quality": f"INFO/MQ<{settings.minimum_mapping_quality:g}",
        # Alternate reads map worse than reference reads: paralogous sequence.
        "mapping_quality_bias": f"INFO/MQBZ<-{bias}",
        "base_quality_bias": f"INFO/BQBZ<-{bias}",
        # An indel near the end of a read is not seen, so these two speak of SNVs only.
        "read_position_bias": f'TYPE="snp" & (INFO/RPBZ<-{bias} | INFO/RPBZ>{bias})',
        "soft_clip_bias": f'TYPE="snp" & INFO/SCBZ>{bias}',
        # SP is tested sample by sample; one unlucky sample of a large cohort is no reason.
        "strand_bias": (
            f'N_PASS(GT="alt" & FMT/SP>{settings.maximum_strand_bias:g})>0.5*N_PASS(GT="alt")'
        ),
        "low_indel_support": (
            f"INFO/INDEL=1 & (INFO/IDV<2 | INFO/IMF<{settings.minimum_indel_fraction:g})"
        ),
    }


def _freebayes(settings: GermlineFilters) -> dict[str, str]:
    strand, side = settings.minimum_strand_reads, settings.minimum_side_reads
    return {
        "low_mapping_quality": f"INFO/MQM<{settings.minimum_mapping_quality:g}",
        "low_quality_per_read": f"QUAL/INFO/AO<{settings.minimum_quality_per_read:g}",
        "strand_bias": f"INFO/SAF<{strand} | INFO/SAR<{strand}",
        "read_position_bias": f"INFO/RPL<{side} | INFO/RPR<{side}",
    }


def filter_command(settings: GermlineFilters) -> str:
    """Shell pipe that reads BCF from standard input and sets FILTER; PASS where none applies."""
    return " | ".join(
        f"bcftools filter --soft-filter {name} --mode + --exclude '{expression}' --output-type u"
        for name, expression in hard_filters(settings).items()
    )
