"""Generating documentation from the code, and turning docs/ into a site.

`python -m documentation` writes the generated pages and drawings under docs/, which are checked in; `make docs` then
builds the site. Belongs here: programs that make pages. Does not belong here: text that does not follow from the code.
"""
