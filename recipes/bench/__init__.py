"""fnet's training step timed against other ways to train the same network.

Each contender has a process of its own.
"""
