"""Environment files: read, included, filled with variables, checked, placed."""
