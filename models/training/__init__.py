"""Training: a SLEAP label file and its video into a model folder that a rig can load."""
