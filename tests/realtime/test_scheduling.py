"""Scheduling: asking never fails, and changes nothing but the slice."""

import os
import threading

from realtime.scheduling import ask_for_short_slices


def test_asking_keeps_policy_and_priority():
    seen = []

    def ask():
        seen.append((ask_for_short_slices(), os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)))

    thread = threading.Thread(target=ask)  # the slice is the thread's own: it ends with it
    thread.start()
    thread.join()
    assert seen[0][0] in {True, False}
    assert seen[0][1:] == (os.SCHED_OTHER, os.getpriority(os.PRIO_PROCESS, 0))
