"""Sex from the coverage of X and Y."""

import gzip

import pytest

from ihdsi.alignment.sex import observed_sex, sex_chromosome_coverage
from ihdsi.study import SexCheck

CHECK = SexCheck(variable="sex", female="F", male="M")


def regions(folder, text):
    path = folder / "a.regions.bed.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return path


@pytest.mark.parametrize("prefix", ["", "chr"])
def test_ratios_by_hand(tmp_path, prefix):
    path = regions(
        tmp_path,
        f"{prefix}1\t0\t100\ta\t80.0\n{prefix}22\t0\t300\tb\t40.0\n"
        f"{prefix}X\t0\t50\tc\t20.0\n{prefix}X\t90\t240\td\t40.0\n{prefix}Y\t5\t15\te\t10.0\n"
        f"{prefix}M\t0\t16000\tf\t9000.0\nGL000220.1\t0\t1000\tg\t7000.0\n",
    )
    # The autosomes are covered 50 times, X 35 times.
    assert sex_chromosome_coverage(path) == {
        "x_coverage_ratio": pytest.approx(0.7),
        "y_coverage_ratio": pytest.approx(0.2),
    }


def test_without_sex_chromosomes_or_autosomes_there_is_no_ratio(tmp_path):
    assert sex_chromosome_coverage(regions(tmp_path, "1\t0\t9\t5.0\n")) == {}
    assert sex_chromosome_coverage(regions(tmp_path, "chrM\t0\t9\t5.0\n")) == {}
    assert sex_chromosome_coverage(regions(tmp_path, "1\t0\t9\t0.0\nX\t0\t9\t3.0\n")) == {}
    only_x = sex_chromosome_coverage(regions(tmp_path, "1\t0\t9\t4.0\nX\t0\t9\t2.0\n"))
    assert only_x == {"x_coverage_ratio": 0.5}


@pytest.mark.parametrize(
    ("x", "y", "sex"),
    [
        (1.0, 0.01, "female"),
        (0.5, 0.45, "male"),
        (0.5, 0.2, "male"),  # all of Y in GRCh38, half of which is not sequenced
        (1.0, None, "female"),
        (0.5, None, "male"),
        (0.72, None, None),  # between the limits
        (0.5, 0.02, None),  # a man who lost Y, or a woman who lost X
        (1.0, 0.4, None),  # XXY, or two persons
        (None, 0.4, "male"),
        (None, 0.0, None),
        (None, None, None),
    ],
)
def test_observed_sex(x, y, sex):
    assert observed_sex(x, y, CHECK) == sex
