# FASTQ with SAM tags behind the names (of samtools fastq -T) -> the same, each read in a known read
# group (RG) and with what its duplicates must share (xl: library and molecular barcode).
# Before it, the file of read groups and libraries; see ihdsi.alignment.adopt.write_read_groups.
BEGIN { FS = "\t" }
NR == FNR {
    if (NR == 1) unknown = $1
    library[$1] = $2
    next
}
FNR % 4 == 1 {
    group = unknown
    barcode = ""
    line = $1
    for (i = 2; i <= NF; i++) {
        if ($i in library) group = $i
        else if ($i ~ /^RG:Z:/) continue
        else line = line "\t" $i
        if ($i ~ /^RX:Z:/) barcode = substr($i, 6)
    }
    # The group was kept aside, so that it stands once.
    $0 = line "\t" group "\txl:Z:" library[group] "/" barcode
}
{ print }
