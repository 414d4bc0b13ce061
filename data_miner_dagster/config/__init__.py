"""The configuration as frozen pydantic models, one module per stage. Unknown keys are errors.

Belongs here: the fields, ranges, defaults and descriptions that docs/configuration.md is generated from. Does not
belong here: code that acts on the settings.
"""
