"""Observe, run a DAG of steps, hold leases, wait at gates, stop in two stages."""
