# SAM of salmon's mappings (--writeMappings) -> in which twentieth of their transcript, from the 5' to
# the 3' end, the middles of fragments lie. Transcripts of at least 500 bases count, and of each read
# one mapping; two million fragments are enough.
BEGIN {
    FS = OFS = "\t"
    bins = 20
    shortest = 500
    most = 2000000
}
/^@/ {
    if ($1 == "@SQ") size[substr($2, 4)] = substr($3, 4) + 0
    next
}
counted >= most { next }
{
    length_ = size[$3]
    if (length_ < shortest) next
    # Flags of SAM: 1 paired, 4 unmapped, 8 mate unmapped, 64 first mate, 256 secondary.
    flag = $2
    if (int(flag / 4) % 2 || int(flag / 256) % 2) next
    if (flag % 2 && int(flag / 8) % 2 == 0) {
        if (int(flag / 64) % 2 == 0) next
        start = $4 < $8 ? $4 : $8
        middle = start + ($9 < 0 ? -$9 : $9) / 2
    } else {
        middle = $4 + length($10) / 2
    }
    bin = int(bins * (middle - 1) / length_)
    if (bin < 0) bin = 0
    if (bin >= bins) bin = bins - 1
    fragments[bin]++
    counted++
}
END {
    print "twentieth", "fragments"
    for (bin = 0; bin < bins; bin++) print bin + 1, fragments[bin] + 0
}
