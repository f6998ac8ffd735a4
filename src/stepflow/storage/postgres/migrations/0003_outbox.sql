-- Events that users sent in transactions of their own. They get their place in the log after the commit: the log's locks are not held
-- while somebody's transaction goes on.
CREATE TABLE @.outbox (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event           text NOT NULL                -- JSON
);
