"""Decide which frames a project keeps, and calibrate the decision. The entry point is `filter_project`."""
