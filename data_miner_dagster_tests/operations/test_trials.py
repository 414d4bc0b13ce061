from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_miner_dagster.operations.foreign.media_workers import MediaWorkers
from data_miner_dagster.operations.trials import folder_images, read_in_batches


def test_read_in_batches__one_of_twenty_that_a_fault_meets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{number:02d}.png" for number in range(20)]
    for number, path in enumerate(paths):
        Image.new("RGB", (8 + number, 8)).save(path)
    see, victim = MediaWorkers.see, paths[13].read_bytes()

    def raising(media: MediaWorkers, content: bytes, **named: Any) -> Any:
        if content == victim:
            raise ZeroDivisionError("planted")
        return see(media, content, **named)

    monkeypatch.setattr(MediaWorkers, "see", raising)
    batches = list(read_in_batches(paths, 8))
    assert [image.shape[1] - 8 for _, images, _ in batches for image in images] == [*range(13), *range(14, 20)]
    ((path, why),) = [broken for _, _, unreadable in batches for broken in unreadable]
    assert path == paths[13]
    assert why.startswith(f"{path} cannot be read: ZeroDivisionError: planted (operations/trials.py:")


def test_folder_images__linked_folders_count_once(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "[x]", tmp_path / "elsewhere"
    for path in (folder / "b.png", folder / ".hidden.png", folder / "sub" / "c.png", elsewhere / "a.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    (folder / "a link").symlink_to(elsewhere)
    (folder / "again").symlink_to(elsewhere)
    (folder / "sub" / "up").symlink_to("..")
    found = [path.relative_to(folder).as_posix() for path in folder_images(folder)]
    assert found == ["a link/a.png", "b.png", "sub/c.png"]
    assert folder_images(folder, limit=1) == [folder / "a link" / "a.png"]
