"""What annotation tools make of our exports, checked with their own packages in environments of their own."""
