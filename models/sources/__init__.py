"""Reading models that other programs trained, one format a file."""
