"""Conversion of sizes to human-readable text."""


def size_text(size_bytes: int) -> str:
    """Return a size with at most three significant digits and a unit from B to TB, or in whole TB from 1,000 TB."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:  # from here on, three digits round up to a thousand
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB" if size < 999.5 else f"{size:,.0f} TB"
