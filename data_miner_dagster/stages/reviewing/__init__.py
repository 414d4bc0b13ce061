"""Apply people's verdicts to detected boxes, and decide which boxes are objects and which are unsure."""
