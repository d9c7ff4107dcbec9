"""What the dashboard and the command for everything at a glance show."""
