"""Reporting: show people the results of every stage, as a funnel, preview images and the report page."""
