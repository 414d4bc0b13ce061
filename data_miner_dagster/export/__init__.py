"""Dataset formats, one file each, written and read back; the datasheet and the report."""
