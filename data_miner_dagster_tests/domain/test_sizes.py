import pytest

from data_miner_dagster.domain.sizes import size_text


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (12_345, "12.3 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (999_999, "1 MB"),
        (500_000_000, "500 MB"),
        (2_100_000_000, "2.1 GB"),
        (3_000_000_000_000, "3 TB"),
        (4_321_000_000_000_000, "4,321 TB"),
    ],
)
def test_size_text(size_bytes: int, expected: str) -> None:
    assert size_text(size_bytes) == expected
