import ast
from pathlib import Path

import data_miner_dagster

OUTSIDE = {
    "AddressError",  # raised in pydantic validators
    "AddressRefusedError",  # raised inside yt-dlp, like the four below
    "DeadlineExceededError",
    "OptedOutError",
    "PageTooLargeError",
    "QueueStoppedError",
    "CallerError",  # ends a job; no library may handle it as an error
    "WorkerFaultError",  # wraps an unexpected exception
    "StoppedError",  # ends a drain's thread; no handler of an item's faults may catch it
    "_SourceError",  # used within one function
    "_OrderError",  # used within two functions of one module
    "_UndoError",  # used within one function
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
