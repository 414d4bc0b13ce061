"""What people are asked about a project, and what becomes of their answers."""
