"""The decision logic of each stage: pure functions that use no files, database, network or torch."""
