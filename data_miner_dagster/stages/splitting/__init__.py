"""Decide the split of each video, or of each part of a video. Pure functions.

Does not belong here: remembering splits (operations/split_memory.py), or writing them (export/).
"""
