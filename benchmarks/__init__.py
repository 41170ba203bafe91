"""What benchmark.py runs: scenes, peers, races and their reports."""
