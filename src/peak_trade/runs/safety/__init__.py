"""What people do when something is wrong: kill, pause, roll back, liquidate, restart, shut down."""
