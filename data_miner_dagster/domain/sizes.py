"""Conversion of sizes to human-readable text."""


def size_text(size_bytes: int) -> str:
    """Return a size with three significant digits, in the largest decimal unit up to TB in which it is at least 1."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"
