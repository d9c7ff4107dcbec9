"""What has to work in an emergency, tried on purpose at an emulator."""
