-- What processes tell each other that need not be kept: the last texts, and who sent each.

CREATE TABLE stepflow_broadcasts (
    number          INTEGER NOT NULL PRIMARY KEY,
    sender          TEXT NOT NULL,
    text            TEXT NOT NULL
);
