"""Verification: a second model examines each detected box. The entry point is `BoxVerification`."""
