"""Output for people: the terminal, tables, plots, loggers."""
