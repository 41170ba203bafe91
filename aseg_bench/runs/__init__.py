"""The folder of a run, and what works in it: the runner, the evaluation of maps, and finished runs read back."""
