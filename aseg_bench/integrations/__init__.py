"""Metrics inside other people's frameworks, one file per host, which must be installed to import its file."""
