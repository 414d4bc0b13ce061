"""Showing the results of every stage to people: the funnel, preview pictures, the report page."""
