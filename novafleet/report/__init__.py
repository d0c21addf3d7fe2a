"""Reports consume events and results; they never ask a host anything. Results on stdout, progress on stderr."""
