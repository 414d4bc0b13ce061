import pytest

from data_miner_dagster.models.onnx_sessions import num_threads


def test_num_threads__no_more_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert num_threads() == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert num_threads() >= 1
