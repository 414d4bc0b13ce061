"""Tests a project with a priced verifier, from its file to a release that states the price, and the rebuilt release."""

import json
import shutil
from pathlib import Path

import pytest

from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster_tests.end_to_end.commands import data_miner, digests, environment, project, write_yaml
from data_miner_dagster_tests.operations.releasing.release_folders import files_of
from data_miner_dagster_tests.support.chat_server import KEY, answer_text, chat_server

pytestmark = [pytest.mark.slow(45), pytest.mark.models]

PRICES = {"price_per_million_input_tokens": 0.5, "price_per_million_output_tokens": 2.0}
"""Each answer uses 1,000 input and 20 output tokens, so 1,000 answers cost 0.54."""


def _by_brightness(rgb: RgbImage, _prompt: str) -> str:
    mean = rgb.mean()
    return answer_text("confirmed" if mean > 100 else "rejected" if mean > 80 else "cannot_tell", "its brightness")


def test_run__a_priced_verifier_in_the_card_and_rebuilt_without_asking(clips: dict[str, Path], tmp_path: Path) -> None:
    root, to = tmp_path / "root", tmp_path / "rebuilt"
    (tmp_path / "clips").mkdir()
    shutil.copyfile(clips["bikes.mp4"], tmp_path / "clips" / "bikes.mp4")
    with chat_server(_by_brightness) as chat:
        content = project("street", [{"type": "files", "paths": ["clips"]}])
        content["detection"] = {"classes": {"bicycle": [], "car": []}, "verifier": {"model": "eyes", "max_cost": 5}}
        endpoint = {"url": chat.url, "model": "sharp-eyes", "api_key": "env:EYES_KEY", **PRICES}
        models = {"profile": "lite", "endpoints": {"eyes": endpoint}}
        extraction = {"strategy": "time", "every_seconds": 2.0}
        loopback = {"allowed_private_hosts": ["127.0.0.1"]}
        content["platform"] = {"models": models, "extraction": extraction, "downloading": loopback}
        config = write_yaml(tmp_path / "street.yaml", content)
        done = data_miner("run", "--config", config, "--root", root, env=environment(EYES_KEY=KEY))
        assert done.returncode == 0, done.stdout
        num_asked = len(chat.bodies)
        assert num_asked >= 3
    release = root / "releases" / "street" / "v001"
    manifest = json.loads((release / "release.json").read_text())
    counts, effort = manifest["verifier"], manifest["effort"]["verifier"]
    assert counts["confirmed"] + counts["rejected"] + counts["cannot_tell"] == effort["num_boxes"] == num_asked
    assert effort["num_tokens"] == [1000 * num_asked, 20 * num_asked]
    table = (
        f"| boxes judged by eyes (verifier) | {num_asked} |\n"
        f"| tokens of eyes | {1000 * num_asked:,} input and {20 * num_asked} output |\n"
        f"| price of eyes, in the currency of its prices | {0.00054 * num_asked:.4g} "
        "(0.5 per million input tokens and 2 per million output tokens) |\n"
    )
    for name in ("README.md", "datasheet.md"):
        text = (release / name).read_text()
        assert table in text
        assert KEY not in text
    assert "| verifier | eyes | endpoint:sharp-eyes | not pinned: it runs on a server | unknown |" in text
    assert f"A verifier examined individual boxes: {counts['line']}. Rejected boxes are left out, " in text
    # The endpoint is down and no key is set.
    before = digests(root / "releases")
    again = data_miner("rebuild", "street", "--to", to, "--config", config, "--root", root)
    assert again.returncode == 0, again.stdout
    assert "identical byte for byte" in again.stdout
    assert files_of(to) == files_of(release)
    assert digests(root / "releases") == before
    assert len(chat.bodies) == num_asked
    # Another model would give other answers.
    endpoint["model"] = "sharper-eyes"
    refused = data_miner(
        "rebuild", "street", "--to", tmp_path / "other", "--config", write_yaml(config, content), "--root", root
    )
    assert refused.returncode == 1
    assert "the model or parameters of verifier eyes have changed since the release" in refused.stdout
