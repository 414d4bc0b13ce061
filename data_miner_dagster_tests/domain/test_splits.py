import pytest

from data_miner_dagster.domain.splits import hub_name, split_role, yolo_name


@pytest.mark.parametrize(
    ("name", "role", "in_yolo", "on_hub"),
    [
        ("train", "train", "train", "train"),
        ("val", "val", "val", "validation"),
        ("valid", "val", "val", "validation"),
        ("validation", "val", "val", "validation"),
        ("Dev", "val", "val", "validation"),
        ("testing", "test", "test", "test"),
        ("Holdout", "holdout", "Holdout", "Holdout"),
    ],
)
def test_split_role__one_table_for_every_format(name: str, role: str, in_yolo: str, on_hub: str) -> None:
    assert (split_role(name), yolo_name(name), hub_name(name)) == (role, in_yolo, on_hub)
