"""Release formats: one module a format, each a writer that takes images one at a time.

Belongs here: bytes of COCO, YOLO, Parquet, the datasheet and the report, and reading them back. Does not belong
here: choosing what is released (stages/releasing.py) and finding it on disk (operations/releasing/release_project.py).
"""
