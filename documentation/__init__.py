"""What the documentation generates from the code, and what turns docs/ into a site.

`python -m documentation` writes the generated pages and drawings under docs/, which are checked in; `make docs` then
builds the site. Belongs here: programs about pages. Does not belong here: what the pages say, unless the code says it.
"""
