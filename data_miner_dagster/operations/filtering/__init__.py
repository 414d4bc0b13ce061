"""Filtering: decides which frames a project keeps, and calibrates the decision. The entry point is `filter_project`."""
