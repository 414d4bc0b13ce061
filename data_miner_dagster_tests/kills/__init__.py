"""The kill matrix: a platform at work whose parts are killed or taken away at random moments.

`python -m benchmarks.kills --help` runs many seeds by hand; the tests live once on each database.
"""
