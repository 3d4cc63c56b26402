"""Inference runtimes, one a file."""
