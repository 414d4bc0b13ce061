"""Decode, encode and draw pictures with PyAV, OpenCV and Pillow."""
