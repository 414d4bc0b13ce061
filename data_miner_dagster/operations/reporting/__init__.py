"""What every stage's results look like to people: the funnel, preview pictures, the report page."""
