import ast
from pathlib import Path

import data_miner_dagster

OUTSIDE = {
    "AddressError",  # what pydantic's validators raise
    "AddressRefusedError",  # yt-dlp's, as the four below
    "DeadlineExceededError",
    "OptedOutError",
    "PageTooLargeError",
    "QueueStoppedError",
    "CallerError",  # the end of a job, which no library may take for an error
    "WorkerFaultError",  # an exception that nobody expected
    "StoppedError",  # ends a thread of a drain, past everything that keeps an item's fault
    "_SourceError",  # within one function
    "_OrderError",  # within two functions of one module
    "_UndoError",  # within one function
}


def test_errors__all_are_in_the_tree_but_those_that_others_are_to_catch() -> None:
    bases: dict[str, list[str]] = {}
    for path in Path(data_miner_dagster.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                assert node.name not in bases, f"{node.name} is defined twice"
                bases[node.name] = [ast.unparse(base).rpartition(".")[2] for base in node.bases]

    def is_in_tree(name: str) -> bool:
        return name == "DataMinerError" or any(is_in_tree(base) for base in bases.get(name, []))

    assert {name for name in bases if not is_in_tree(name)} == OUTSIDE
