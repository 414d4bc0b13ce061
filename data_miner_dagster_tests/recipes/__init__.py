"""Follow the recipes of CONTRIBUTING.md in a copy, to prove that only the files they name have to change."""
