"""The decisions of each stage, as pure functions: no files, no database, no network, no torch."""
