"""The configuration as frozen pydantic models, one module per stage. Unknown keys are errors.

Belongs here: fields, ranges, defaults, descriptions (the reference in docs/configuration.md is generated from them).
Does not belong here: anything that acts on them.
"""
