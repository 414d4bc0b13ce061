from pathlib import Path

from PIL import Image

from data_miner_dagster.operations.trials import folder_images


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
