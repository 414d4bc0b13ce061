"""Conversion of sizes to human-readable text."""


def size_text(size_bytes: int) -> str:
    """Return a size in the largest unit from B to TB that fits: at most three significant digits, or whole TB."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:  # from here on, three digits round up to a thousand
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB" if size < 999.5 else f"{size:,.0f} TB"
