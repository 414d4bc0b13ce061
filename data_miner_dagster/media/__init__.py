"""Read video files, and decode, measure, encode and draw pictures, with PyAV, OpenCV, Pillow and simplejpeg."""
