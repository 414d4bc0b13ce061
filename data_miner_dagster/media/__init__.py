"""Decoding, encoding and drawing of pictures with PyAV, OpenCV and Pillow."""
