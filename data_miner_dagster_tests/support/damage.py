"""Damage to files, as a faulty disk causes it."""

from pathlib import Path


def damage(table: Path) -> None:
    """Change a byte in the first rows of a table, whose footer stays readable."""
    content = bytearray(table.read_bytes())
    content[40] ^= 0xFF
    table.unlink()  # other hard links to the file keep its content
    table.write_bytes(content)
