"""Make immutable, verified releases, and export, trace and rebuild them. The entry point is `release_project`."""
