"""The engine: `step` decides, the runner performs; recovery and reconciliation."""
