"""Tests, with one file per source file, in the same folders."""
