"""Verification: has a second model examine each detected box. The entry point is `BoxVerification`."""
