-- Runs, their journals, events, waits and workers. Times are microseconds since 1970; values are JSON text.

-- What changes in a run. A plain step commit does not touch this table: the run's last seq is that of its journal.
CREATE TABLE stepflow_runs (
    id              TEXT NOT NULL PRIMARY KEY,
    workflow_id     TEXT NOT NULL,
    queue           TEXT NOT NULL,
    priority        INTEGER NOT NULL,
    idempotency_key TEXT,
    fingerprint     TEXT NOT NULL,               -- digest of the input it was created with
    version         TEXT,
    tags            TEXT NOT NULL,               -- JSON object
    parent_id       TEXT,
    parent_key      TEXT,
    parent_detached INTEGER NOT NULL,
    parent_depth    INTEGER NOT NULL,            -- runs above this one
    created_at      INTEGER NOT NULL,
    created_pos     INTEGER NOT NULL,
    status          TEXT NOT NULL,
    worker          TEXT,                        -- set while running
    due_at          INTEGER,                     -- set while claimable now or later
    not_before      INTEGER,                     -- delay of a run that was paused before its first start
    attempt         INTEGER NOT NULL,
    first_seq       INTEGER NOT NULL,
    cancel          INTEGER NOT NULL,            -- 0 no, 1 requested, 2 journaled by the owner
    pause           INTEGER NOT NULL,            -- 1 requested
    pause_reason    TEXT,
    pause_detail    TEXT NOT NULL,
    started_at      INTEGER,
    ended_at        INTEGER,
    output_codec    TEXT,
    output          TEXT,
    failure         TEXT
);

CREATE UNIQUE INDEX stepflow_runs_key ON stepflow_runs (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX stepflow_runs_due ON stepflow_runs (queue, priority, due_at, created_pos, workflow_id) WHERE due_at IS NOT NULL;
CREATE INDEX stepflow_runs_worker ON stepflow_runs (worker) WHERE worker IS NOT NULL;
CREATE INDEX stepflow_runs_created ON stepflow_runs (created_at, id);
CREATE INDEX stepflow_runs_status ON stepflow_runs (status, created_at, id);
CREATE INDEX stepflow_runs_parent ON stepflow_runs (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX stepflow_runs_ended ON stepflow_runs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX stepflow_runs_unfinished ON stepflow_runs (created_pos) WHERE ended_at IS NULL;

-- Apart from the run, so that a suspend does not write a large input again.
CREATE TABLE stepflow_inputs (
    run_id          TEXT NOT NULL PRIMARY KEY,
    codec           TEXT NOT NULL,
    input           TEXT NOT NULL
) WITHOUT ROWID;

-- The primary key is the fence: of two writers of one place, the first wins.
CREATE TABLE stepflow_journal (
    run_id          TEXT NOT NULL,
    seq             INTEGER NOT NULL,
    writer          TEXT NOT NULL,
    write_id        TEXT NOT NULL,
    entries         TEXT NOT NULL,               -- JSON array
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;

CREATE TABLE stepflow_events (
    pos             INTEGER NOT NULL PRIMARY KEY,
    event_id        TEXT NOT NULL,
    run_id          TEXT,                        -- NULL: to all
    dedup_id        TEXT,
    at              INTEGER NOT NULL,
    codec           TEXT NOT NULL,
    payload         TEXT NOT NULL
);

CREATE INDEX stepflow_events_address ON stepflow_events (event_id, run_id, pos);
CREATE INDEX stepflow_events_run ON stepflow_events (run_id) WHERE run_id IS NOT NULL;
CREATE UNIQUE INDEX stepflow_events_dedup ON stepflow_events (event_id, dedup_id) WHERE dedup_id IS NOT NULL;

CREATE TABLE stepflow_waits (
    event_id        TEXT NOT NULL,
    run_id          TEXT NOT NULL,
    after_pos       INTEGER NOT NULL,
    name            TEXT NOT NULL,
    until_at        INTEGER,
    PRIMARY KEY (event_id, run_id)
) WITHOUT ROWID;

CREATE INDEX stepflow_waits_run ON stepflow_waits (run_id);

-- The one sequence that events and new runs share, in commit order.
CREATE TABLE stepflow_sequence (
    only            INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    last_pos        INTEGER NOT NULL
);

INSERT INTO stepflow_sequence (only, last_pos) VALUES (1, 0);

CREATE TABLE stepflow_workers (
    id              TEXT NOT NULL PRIMARY KEY,
    name            TEXT,
    queues          TEXT NOT NULL,               -- JSON array
    host            TEXT NOT NULL,
    pid             INTEGER NOT NULL,
    started_at      INTEGER NOT NULL,
    lease_until     INTEGER NOT NULL
);

CREATE TABLE stepflow_settings (
    name            TEXT NOT NULL PRIMARY KEY,
    value           BLOB NOT NULL
);
