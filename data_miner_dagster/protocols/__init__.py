"""Seams: one Protocol per model capability. Implementations live in `models/`, `index/`; fakes only in tests."""
