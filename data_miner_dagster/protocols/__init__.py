"""The interfaces of replaceable parts, such as encoders, detectors and stores, as Protocols.

Implementations are in packages such as `models/` and `index/`. Fakes exist only in tests.
"""
