"""Reporting: shows the results of every stage to people, as a funnel, preview pictures, and the report page."""
