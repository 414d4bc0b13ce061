"""The configuration as frozen pydantic models, one module per stage. Unknown keys are errors.

Belongs here: fields, ranges, defaults and descriptions, from which docs/configuration.md is generated. Does not belong
here: code that acts on the settings.
"""
