import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_miner_dagster_tests.export.faults.hub_rows import HUB_ROWS
from data_miner_dagster_tests.export.faults.planting import Fault, copied, exchanged, gone


def in_samples(name: str, change: Callable[[list[Any]], object]) -> Callable[[Path], None]:
    """Return a fault that changes the rows of a shard. Each row has the name and the image of its sample."""

    def plant(folder: Path) -> None:
        rows: list[Any] = []
        with tarfile.open(folder / name) as shard:
            for member in shard:
                content, (key, _, suffix) = shard.extractfile(member), member.name.partition(".")
                assert content is not None
                if not rows or rows[-1]["key"] != key:
                    rows.append({"key": key})
                rows[-1] |= {"image": content.read()} if suffix == "jpg" else json.load(content)
        change(rows)
        with tarfile.open(folder / name, "w") as shard:
            for row in rows:
                facts = {name: value for name, value in row.items() if name not in ("key", "image")}
                for suffix, data in (("jpg", row["image"]), ("json", json.dumps(facts).encode())):
                    member = tarfile.TarInfo(f"{row['key']}.{suffix}")
                    member.size = len(data)
                    shard.addfile(member, io.BytesIO(data))

    return plant


IN_EXPORTS: dict[str, Fault] = {
    **{name: (in_samples("data/train-00000.tar", change), line) for name, (change, line) in HUB_ROWS.items()},
    "another image": (
        in_samples("data/train-00000.tar", lambda rows: rows[0].update(image=rows[1]["image"])),
        "train/files-a_000000.jpg: the image in its row differs from the image file",
    ),
    "another name": (
        in_samples("data/train-00000.tar", lambda rows: rows[0].update(key="files-x_000000")),
        "the name of the sample files-x_000000 in .* does not match its image files-a_000000.jpg",
    ),
    "wrong split": (exchanged("data/train-00000.tar", "data/val-00000.tar"), "train/files-a_000000.jpg: its row has"),
    "missing shard": (gone("data/val-00000.tar"), "there is no row for val/files-b_000000.jpg"),
    "extra shard": (copied("data/val-00000.tar", "data/val-00001.tar"), "val: there are more rows than images"),
    "extra file": (copied("data/val-00000.tar", "data/other.tar"), "data: 3 files, expected 2"),
    "truncated shard": (
        lambda folder: (folder / "data/val-00000.tar").write_bytes((folder / "data/val-00000.tar").read_bytes()[:700]),
        "webdataset: the files cannot be read",
    ),
}
