"""From a request to a registered, reported and reproducible run.

Invariant: the registry is the truth: a result is in it before it is shown; a run's folder can be made again from it.
Invariant: a run's specification holds everything needed to do it again.
"""
