"""Decoding, encoding and drawing pictures: PyAV, OpenCV, Pillow."""
