"""Local files: the files that an entry matches, and their keys."""

import hashlib
import os
from contextlib import chdir, suppress
from pathlib import Path

import pytest
from av.format import ContainerFormat

from data_miner_dagster.domain.errors import SourceError, VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.media.containers import CONTAINER_OPTIONS
from data_miner_dagster.sites.folders import folders_below
from data_miner_dagster.sites.local_files import (
    VIDEO_ENDINGS,
    fetch_local_file,
    key_of_file,
    list_frame_folders,
    list_local_videos,
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.mp4", "a.MKV", "notes.txt", ".hidden.mp4", "sub/c.webm", "sub/deep/d.mov", ".git/e.mp4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def names(paths: list[Path], base: Path) -> list[str]:
    return [path.relative_to(base.resolve()).as_posix() for path in paths]


def test_list_local_videos__empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no video was found"):
        list_local_videos(".", tmp_path)


def test_list_local_videos__missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"the path .* does not exist"):
        list_local_videos("nothing.mp4", tmp_path)


def test_list_local_videos__folder_is_searched_below(tree: Path) -> None:
    assert names(list_local_videos(".", tree).paths, tree) == ["a.MKV", "b.mp4", "sub/c.webm", "sub/deep/d.mov"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("*", ["a.MKV", "b.mp4", "sub/c.webm", "sub/deep/d.mov"]),
        ("*.mp4", ["b.mp4"]),
        ("**/*.webm", ["sub/c.webm"]),
        ("sub/**", ["sub/c.webm", "sub/deep/d.mov"]),
        ("*.txt", ["notes.txt"]),  # the glob names the extension
        ("notes.txt", ["notes.txt"]),  # an explicitly named file is accepted; its download will fail
        ("su?", ["sub/c.webm", "sub/deep/d.mov"]),
    ],
)
def test_list_local_videos__globs(tree: Path, entry: str, expected: list[str]) -> None:
    assert names(list_local_videos(entry, tree).paths, tree) == expected


def test_list_local_videos__says_what_it_passes_over(tree: Path) -> None:
    for name in ("old.swf", "older.SWF", "README", "sub/x.rm"):
        (tree / name).write_bytes(b"x")
    os.mkfifo(tree / "pipe.mp4")
    (tree / "gone.mp4").symlink_to("nowhere")
    found = list_local_videos(".", tree)
    assert names(found.paths, tree) == ["a.MKV", "b.mp4", "sub/c.webm", "sub/deep/d.mov"]
    assert found.remark == (
        "7 files were left out: .swf (2), special file or broken link (2), .rm (1), .txt (1), no extension (1)"
    )
    assert list_local_videos("*.swf", tree).remark == ""  # the glob names the extension, so the files are tried
    assert list_local_videos("b.mp4", tree).remark == ""
    (tree / "only").mkdir()
    (tree / "only/y.rm").touch()
    with pytest.raises(SourceError, match=r"no video was found .*; 1 file was left out: \.rm \(1\)"):
        list_local_videos("only", tree)


def test_list_local_videos__linked_folders_are_searched_once(tmp_path: Path) -> None:
    root, outside = tmp_path / "clips", tmp_path / "elsewhere"
    for path in (root / "z/real.mp4", outside / "far.mp4"):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    (root / "a").symlink_to(root / "z")  # the same folder, under a name that sorts first
    (root / "session").symlink_to(outside)
    (root / "session again").symlink_to("../elsewhere")
    (outside / "back").symlink_to(root)  # a cycle
    (root / "z/up").symlink_to("..")
    (root / "linked.mp4").symlink_to(outside / "far.mp4")
    expected = [outside.resolve() / "far.mp4", root.resolve() / "linked.mp4", root.resolve() / "z/real.mp4"]
    expected.sort()
    for entry in ("clips", "clips/**", "clips/**/*.mp4"):
        assert list_local_videos(entry, tmp_path).paths == expected, entry


ODD_NAMES = [
    "[work] x",
    "100%",
    "a%20b",
    "q?x=1",
    "Part #1 of 2",
    "star * and [b-a]",
    "two\nlines",
    "~me",
    "~",
    "quote ' and \" and \\",
    "{env:HOME}",
    "env:HOME",
    "-rf",
    "[b] [red]",
    "日本語 🎬",
    "e\u0301",
    "a" * 250,
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_list_local_videos__any_name_works(tmp_path: Path, name: str) -> None:
    """The name may belong to the folder of the project file, to a searched folder, or to a file."""
    base = tmp_path / name
    clip = base / name / f"{name[:240]}.mp4"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"x")
    real = clip.parent.resolve() / clip.name
    for entry in (
        ".",
        "*",
        "**",
        "*/*.mp4",
        "**/*.mp4",
        name,
        f"{name}/{clip.name}",
        f"./{name}",
        str(clip),
        str(base),
    ):
        assert list_local_videos(entry, base).paths == [real], entry


def test_list_local_videos__a_home_folder_with_brackets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "[me]"
    home.mkdir()
    (home / "a.mp4").write_bytes(b"x")
    monkeypatch.setenv("HOME", str(home))
    for entry in ("~", "~/a.mp4", "~/*.mp4", "~/**/*.mp4"):
        assert list_local_videos(entry, tmp_path / "elsewhere").paths == [home.resolve() / "a.mp4"], entry


@pytest.mark.parametrize("entry", ["~nobodyhere/x.mp4", "~nobodyhere", "~nobodyhere/*", "a\0b", "x" * 300, "*/" * 300])
def test_list_local_videos__what_cannot_be_is_one_line(tmp_path: Path, entry: str) -> None:
    with pytest.raises(SourceError) as refused:
        list_local_videos(entry, tmp_path)
    assert "\n" not in str(refused.value)
    with pytest.raises(SourceError):
        list_frame_folders(entry, tmp_path)


def test_list_local_videos__a_name_that_is_no_utf_8_is_left_out_by_name(tmp_path: Path) -> None:
    (tmp_path / "good.mp4").write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")).write_bytes(b"y")
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xfcr"))
    folder.mkdir()
    (folder / "inside.mp4").write_bytes(b"z")
    found = list_local_videos(".", tmp_path)
    assert [path.name for path in found.paths] == ["good.mp4"]
    assert found.remark == (
        "2 files were left out: in a folder whose name is not UTF-8 (1), name not UTF-8: caf\\xe9.mp4 (1)"
    )
    with pytest.raises(SourceError, match=r"the path is not UTF-8 \(.*/caf\\xe9.mp4\); rename the file"):
        list_local_videos(os.fsdecode(b"caf\xe9.mp4"), tmp_path)


def test_video_endings__follow_what_ffmpeg_demuxes() -> None:
    """Every extension that libavformat lists for the allowed formats, except those of sound, text and pictures."""
    muxers = {
        "mpegvideo": ("mpeg1video", "mpeg2video"),
        "mpeg": ("vob", "svcd"),
        "ogg": ("ogv",),
        "mov": ("f4v", "psp"),
    }
    no_video = {"m4a", "m4b", "isma", "avif", "heic", "heif", "mka", "mks", "wma", "mpo"}
    known: set[str] = set()
    for name in CONTAINER_OPTIONS["format_whitelist"].split(","):
        known |= ContainerFormat(name, "r").extensions
        for muxer in (name, *muxers.get(name, ())):
            with suppress(ValueError):  # some formats can only be read
                known |= ContainerFormat(muxer, "w").extensions
    assert known - no_video - VIDEO_ENDINGS == set()
    assert VIDEO_ENDINGS - known == {"divx", "mpv", "ogm"}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_list_frame_folders__any_name_works(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "frames"
    folder.mkdir(parents=True)
    for file_name in ("1.jpg", "2.PNG", "3.tif", "4.heic", ".hidden.jpg", "notes.txt"):
        (folder / file_name).write_bytes(b"x")
    (folder / "loop").symlink_to("..")
    for entry in (".", "*", "frames", "**"):
        found = list_frame_folders(entry, tmp_path / name)
        assert found.paths == [folder.resolve()], entry
        assert found.remark == "3 files were left out: .heic (1), .tif (1), .txt (1)"


def test_list_local_videos__file_name_with_magic_characters(tmp_path: Path) -> None:
    (tmp_path / "clip [1].mp4").write_bytes(b"x")
    assert [path.name for path in list_local_videos("clip [1].mp4", tmp_path).paths] == ["clip [1].mp4"]


def test_key_of_file__by_content(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    assert key_of_file(path) == (f"file-x.{digest[:16]}", digest)


def test_key_of_file__unreadable_has_a_key_by_path(tmp_path: Path) -> None:
    key, sha256 = key_of_file(tmp_path)  # a folder cannot be read as a file, not even by root
    assert key.startswith("file-path-")
    assert sha256 is None


@pytest.mark.parametrize("how", ["copy", "hardlink"])
def test_fetch_local_file__brings_the_bytes(tmp_path: Path, how: str) -> None:
    source, folder = tmp_path / "My Clip.MP4", tmp_path / "in"
    source.write_bytes(os.urandom(100_000))
    folder.mkdir()
    target = fetch_local_file(source, folder, how=how)
    assert target == folder / "video.mp4"
    assert target.read_bytes() == source.read_bytes()
    assert (target.stat().st_ino == source.stat().st_ino) is (how == "hardlink")


def test_fetch_local_file__empty_and_missing(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoPermanentError) as empty:
        fetch_local_file(tmp_path / "empty.mp4", tmp_path / "in", how="copy")
    assert empty.value.kind is VideoErrorKind.EMPTY_FILE
    with pytest.raises(VideoPermanentError) as missing:
        fetch_local_file(tmp_path / "gone.mp4", tmp_path / "in", how="copy")
    assert missing.value.kind is VideoErrorKind.MISSING_FILE


def test_folders_below__an_entry_that_cannot_be_examined(tmp_path: Path) -> None:
    """The path of the innermost folder is longer than the system allows, but its parent's path is not."""
    with chdir(tmp_path):
        deepest = tmp_path
        while len(str(deepest)) < 4000:
            name = "d" * min(200, 4090 - len(str(deepest)) - 1)
            Path(name).mkdir()
            os.chdir(name)
            deepest /= name
        Path("e" * 100).mkdir()
    found = dict(folders_below(tmp_path))
    assert found[deepest] == [deepest / ("e" * 100)]
