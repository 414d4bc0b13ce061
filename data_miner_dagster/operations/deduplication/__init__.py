"""Choose representatives among a project's kept frames. The entry point is `deduplicate_project`."""
