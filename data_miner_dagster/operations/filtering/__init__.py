"""Filtering: which frames a project keeps, and the calibration of that decision. The entry is `filter_project`."""
