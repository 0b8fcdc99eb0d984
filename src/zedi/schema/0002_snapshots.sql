-- What a document's first `seq` updates say, merged into one. The newest of a document is where a reader
-- begins, the rest of its way are the updates above `seq`; the older ones are the versions that people see.
CREATE TABLE snapshots (
    document  text NOT NULL,
    seq       bigint NOT NULL,
    data      bytea NOT NULL, -- a Yjs update
    pending   bytea[] NOT NULL DEFAULT '{}', -- updates that wait for a predecessor, as their authors sent them
    vector    bytea NOT NULL, -- the state vector of `data`
    deletions bytea NOT NULL, -- `data` without its structs; both so that no reader has to decode `data`
    size      bigint NOT NULL, -- bytes of `data` and `pending`
    made_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (document, seq)
);
-- Not compressed: nothing that reads or writes it waits for that.
ALTER TABLE snapshots ALTER COLUMN data SET STORAGE EXTERNAL;

-- Who holds a document's row compacts it, or deletes what its snapshots made superfluous. Updates up to
-- `prune_seq` may be deleted from `prune_at` on: a task of the release before this one reads all of them.
CREATE TABLE compactions (
    document  text PRIMARY KEY,
    prune_seq bigint,
    prune_at  timestamptz
);
CREATE INDEX compactions_to_prune ON compactions (prune_at) WHERE prune_at IS NOT NULL;
