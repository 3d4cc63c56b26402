"""Frames out of a camera, with honest time stamps; one driver a file."""
