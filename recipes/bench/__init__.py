"""Benchmark of fnet's training step against other frameworks, each in its own process."""
