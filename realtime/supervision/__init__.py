"""Supervision: a process beside the loop passes on people's orders, and switches everything off when the loop fails."""
