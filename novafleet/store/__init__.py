"""What the controller remembers: the journal of runs and steps (SQLite now, the same schema on Postgres later)."""
