"""Verification: a second model examines each detected box. The entry is `BoxVerification` in verify_boxes.py."""
