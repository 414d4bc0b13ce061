"""Find conditions that need a person's attention, and send messages about them."""
