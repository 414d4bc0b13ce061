"""Write everything that is published as files: the formats, the datasheet and the report.

Belongs here: the registry of formats (formats.py), a module per format that writes images one at a time and reads its
output back, and the pages. Does not belong here: choosing the released images (stages/releasing.py) and finding them on
disk (operations/releasing/).
"""
