"""One module per revision of the catalog's tables, generated from the difference between two schemas."""
