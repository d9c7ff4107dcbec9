"""Research from Python: the same runs as the command line's, over frames too, with results that a notebook shows.

Invariant: in a project everything tried with a strategy of the catalogue is registered and counts as a trial.
Invariant: what is not registered says so.
"""
