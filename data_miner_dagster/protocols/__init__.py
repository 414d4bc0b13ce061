"""One Protocol per replaceable capability. Implementations live in `models/` and `index/`; fakes only in tests."""
