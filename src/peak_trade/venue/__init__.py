"""Where orders go: the port, the matching core and the simulated venue."""
