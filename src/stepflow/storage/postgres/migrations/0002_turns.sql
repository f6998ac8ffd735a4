-- How often a stream was locked: by it a statement that takes the lock knows whether it looked before somebody else had it.
ALTER TABLE @.streams ADD COLUMN turn bigint NOT NULL DEFAULT 0;
