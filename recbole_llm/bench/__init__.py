"""Suites of runs, their records, and the tables made of them."""
