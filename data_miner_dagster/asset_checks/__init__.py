"""Asset checks: promises verified on every materialization."""
