-- Versions that are to leave `snapshots`. The bucket may be away: until it has them they stay, and are read here.
ALTER TABLE snapshots ADD COLUMN outgoing boolean NOT NULL DEFAULT false;
CREATE INDEX snapshots_outgoing ON snapshots (made_at) WHERE outgoing;

-- Versions that have left: where each is. A row is written once the object is there, and hidden before it expires.
CREATE TABLE archived_versions (
    document text NOT NULL,
    seq      bigint NOT NULL,
    bucket   text NOT NULL,
    key      text NOT NULL,
    size     bigint NOT NULL, -- as in `snapshots`
    made_at  timestamptz NOT NULL, -- the version
    moved_at timestamptz NOT NULL, -- no later than the object, from which its days are counted
    PRIMARY KEY (document, seq)
);
CREATE INDEX archived_versions_moved ON archived_versions (moved_at);
