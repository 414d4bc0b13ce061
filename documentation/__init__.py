"""Generate documentation from the code, and build a site from docs/.

`python -m documentation` writes the generated pages and drawings under docs/, which are checked in; `make docs` then
builds the site. Belongs here: programs that write pages. Does not belong here: text that does not follow from the code.
"""
