-- The journal, version 1. Plain SQL on purpose: Postgres takes this file with one change, the identity column
-- of "step" (INTEGER PRIMARY KEY AUTOINCREMENT becomes BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY).
-- JSON is kept as TEXT, times are seconds since the Unix epoch.

CREATE TABLE IF NOT EXISTS schema_version (
    version INTEGER NOT NULL
);

INSERT INTO schema_version SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM schema_version);

CREATE TABLE IF NOT EXISTS run (
    id          TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    verb        TEXT NOT NULL,
    state       TEXT NOT NULL,
    started     DOUBLE PRECISION NOT NULL,
    ended       DOUBLE PRECISION NOT NULL,
    holder      TEXT NOT NULL,
    epoch       INTEGER NOT NULL,
    request     TEXT NOT NULL,
    summary     TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS run_by_environment ON run (environment, id);

-- Append-only: rows are never changed; the order of ids is the order in which they became durable.
CREATE TABLE IF NOT EXISTS step (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    run     TEXT NOT NULL REFERENCES run (id),
    node    TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    epoch   BIGINT NOT NULL,
    ts      DOUBLE PRECISION NOT NULL,
    payload TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS step_by_run ON step (run, id);
