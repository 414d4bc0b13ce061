"""Damage to files, as a faulty disk causes it."""

from pathlib import Path


def damage(table: Path) -> None:
    """Change a byte in the first rows of a table. Its footer stays readable."""
    content = bytearray(table.read_bytes())
    content[40] ^= 0xFF
    table.unlink()  # other names of the file keep their content
    table.write_bytes(content)
