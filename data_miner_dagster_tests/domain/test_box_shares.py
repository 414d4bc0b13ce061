from data_miner_dagster.domain.box_shares import pixels_of, shares_of


def test_shares_of__of_each_side() -> None:
    assert shares_of((16.0, 12.0, 32.0, 48.0), (64, 48)) == (0.25, 0.25, 0.5, 1.0)


def test_shares_of__the_part_inside() -> None:
    assert shares_of((-9.0, 24.0, 99.0, 60.0), (64, 48)) == (0.0, 0.5, 1.0, 1.0)
    assert shares_of((70.0, 0.0, 80.0, 9.0), (64, 48)) is None


def test_pixels_of__undoes_shares_of() -> None:
    assert pixels_of((0.25, 0.25, 0.5, 1.0), (64, 48)) == (16.0, 12.0, 32.0, 48.0)
