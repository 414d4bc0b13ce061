"""What a user may write, as frozen pydantic models: one module a stage. Unknown keys are errors.

Belongs here: fields, ranges, defaults, descriptions (the reference in docs/configuration.md is generated from them).
Does not belong here: anything that acts on them.
"""
