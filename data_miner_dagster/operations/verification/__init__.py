"""Verification: a second pair of eyes on each detected box. The entry is `BoxVerification` in verify_boxes.py."""
