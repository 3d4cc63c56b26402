"""One frame's journey from camera to stimulus, the session around it, and its exact replay."""
