-- Runs, their journals, events, waits and workers. Times are microseconds since 1970 (readable_runs shows them as
-- timestamps); values are JSON, kept as they were written. `@` is the schema.

-- The one sequence that events and new runs share. An event takes its number under the lock of its stream.
CREATE SEQUENCE @.positions;

-- What changes in a run. A plain step commit does not touch this table: the run's last seq is that of its journal.
CREATE TABLE @.runs (
    id              text COLLATE "C" NOT NULL PRIMARY KEY,
    workflow_id     text COLLATE "C" NOT NULL,
    queue           text COLLATE "C" NOT NULL,
    priority        bigint NOT NULL,
    idempotency_key text COLLATE "C",
    fingerprint     text NOT NULL,               -- digest of the input it was created with
    version         text,
    tags            text NOT NULL,               -- JSON object
    parent_id       text COLLATE "C",
    parent_key      text,
    parent_detached bigint NOT NULL,
    parent_depth    bigint NOT NULL,             -- runs above this one
    created_at      bigint NOT NULL,
    created_pos     bigint NOT NULL,
    status          text COLLATE "C" NOT NULL,
    worker          text COLLATE "C",            -- set while running
    due_at          bigint,                      -- set while claimable now or later
    not_before      bigint,                      -- delay of a run that was paused before its first start
    attempt         bigint NOT NULL,
    first_seq       bigint NOT NULL,
    cancel          bigint NOT NULL,             -- 0 no, 1 requested, 2 journaled by the owner
    pause           bigint NOT NULL,             -- 1 requested
    pause_reason    text,
    pause_detail    text NOT NULL,
    started_at      bigint,
    ended_at        bigint,
    output_codec    text,
    output          json,
    failure         json
);

CREATE UNIQUE INDEX runs_key ON @.runs (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_due ON @.runs (queue, priority, due_at, created_pos, workflow_id) WHERE due_at IS NOT NULL;
CREATE INDEX runs_worker ON @.runs (worker) WHERE worker IS NOT NULL;
CREATE INDEX runs_created ON @.runs (created_at, id);
CREATE INDEX runs_status ON @.runs (status, created_at, id);
CREATE INDEX runs_parent ON @.runs (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX runs_ended ON @.runs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX runs_unfinished ON @.runs (created_pos) WHERE ended_at IS NULL;

-- Apart from the run, so that a suspend does not write a large input again.
CREATE TABLE @.inputs (
    run_id          text COLLATE "C" NOT NULL PRIMARY KEY,
    codec           text NOT NULL,
    input           json NOT NULL
);

-- The primary key is the fence: of two writers of one place, the first wins.
CREATE TABLE @.journal (
    run_id          text COLLATE "C" NOT NULL,
    seq             bigint NOT NULL,
    writer          text NOT NULL,
    write_id        text NOT NULL,
    entries         json NOT NULL,               -- JSON array
    PRIMARY KEY (run_id, seq)
);

CREATE TABLE @.events (
    pos             bigint NOT NULL PRIMARY KEY,
    event_id        text COLLATE "C" NOT NULL,
    run_id          text COLLATE "C",            -- NULL: to all
    dedup_id        text COLLATE "C",
    at              bigint NOT NULL,
    codec           text NOT NULL,
    payload         json NOT NULL
);

CREATE INDEX events_address ON @.events (event_id, run_id, pos);
CREATE INDEX events_run ON @.events (run_id) WHERE run_id IS NOT NULL;
CREATE UNIQUE INDEX events_dedup ON @.events (event_id, dedup_id) WHERE dedup_id IS NOT NULL;

CREATE TABLE @.waits (
    event_id        text COLLATE "C" NOT NULL,
    run_id          text COLLATE "C" NOT NULL,
    after_pos       bigint NOT NULL,
    name            text NOT NULL,
    until_at        bigint,
    PRIMARY KEY (event_id, run_id)
);

CREATE INDEX waits_run ON @.waits (run_id);

-- A row is the lock of an event id: who sends it and who registers a wait for it take turns.
CREATE TABLE @.streams (
    event_id        text COLLATE "C" NOT NULL PRIMARY KEY
);

CREATE TABLE @.workers (
    id              text COLLATE "C" NOT NULL PRIMARY KEY,
    name            text,
    queues          text NOT NULL,               -- JSON array
    host            text NOT NULL,
    pid             bigint NOT NULL,
    started_at      bigint NOT NULL,
    lease_until     bigint NOT NULL
);

CREATE TABLE @.settings (
    name            text COLLATE "C" NOT NULL PRIMARY KEY,
    value           bytea NOT NULL
);

-- For people with psql.
CREATE VIEW @.readable_runs AS
SELECT r.id, r.workflow_id, r.status, r.queue, r.priority, r.attempt, r.worker,
    to_timestamp(r.created_at / 1000000.0) AS created_at,
    to_timestamp(r.started_at / 1000000.0) AS started_at,
    to_timestamp(r.due_at / 1000000.0) AS due_at,
    to_timestamp(r.ended_at / 1000000.0) AS ended_at,
    r.pause_reason, r.pause_detail, r.tags, i.input, r.output, r.failure
FROM @.runs r LEFT JOIN @.inputs i ON i.run_id = r.id;
