"""Detection: the boxes on a project's representatives. The entry is `detect_project`."""
