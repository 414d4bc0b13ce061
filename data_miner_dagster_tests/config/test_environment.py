"""Only one module of this package sets environment variables, apart from those that libraries read."""

import ast
from pathlib import Path

import data_miner_dagster

PACKAGE = Path(data_miner_dagster.__file__).parent
OF_LIBRARIES = {
    "models/detectors/ultralytics_detector.py",
    "models/onnx_sessions.py",
    "models/training.py",
}
WRITERS = {"clear", "pop", "popitem", "putenv", "setdefault", "unsetenv", "update"}


def _writes_of(file: Path) -> bool:
    """Return whether a module assigns to `os.environ` or calls a method that changes it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            target: ast.expr = node.value
        elif isinstance(node, ast.Attribute) and node.attr in WRITERS:
            target = node if node.attr in ("putenv", "unsetenv") else node.value
        else:
            continue
        if ast.unparse(target) in ("os.environ", "os.putenv", "os.unsetenv"):
            return True
    return False


def test_environment__is_written_in_one_place() -> None:
    writers = {str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py") if _writes_of(file)}
    assert writers == {"config/environment.py", *OF_LIBRARIES}
