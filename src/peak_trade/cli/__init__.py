"""The command `peak-trade`: one module for each group of commands; they parse, call and print, nothing else."""
