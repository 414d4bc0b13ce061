"""Sizes for people."""


def size_text(size_bytes: int) -> str:
    """Return a size to three digits, in the largest unit that leaves at least one whole."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"
