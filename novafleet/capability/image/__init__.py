"""Images: files with a digest for a name, pulled by each host once and shared by the environments on it."""
