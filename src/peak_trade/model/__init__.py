"""The words every part shares: errors, instruments, bars, time and ids. Pure, no input or output."""
