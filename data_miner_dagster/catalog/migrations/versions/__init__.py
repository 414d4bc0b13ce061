"""One module per revision of the catalog's tables, written from the difference between two schemas."""
