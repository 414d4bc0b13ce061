"""Image and text encoders from the model hub."""
