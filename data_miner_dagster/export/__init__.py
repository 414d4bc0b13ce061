"""Everything that is published as files: formats, datasheet, report.

Belongs here: the registry of formats (formats.py), one module per format that writes images one at a time and reads
back what it wrote, and the pages. Does not belong here: choosing what is released (stages/releasing.py) and finding it
on disk (operations/releasing/).
"""
