"""`python -m realtime.cli`: the same as `poseloop`."""

from realtime.cli import main

main()
