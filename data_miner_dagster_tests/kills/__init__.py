"""The kill matrix: the parts of a running platform are killed or taken away at random moments.

`python -m benchmarks.kills --help` says how to run many seeds. The tests run one life on each database.
"""
