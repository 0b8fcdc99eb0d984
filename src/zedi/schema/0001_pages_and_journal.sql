-- A page is what people see in their list; its text is the document of the same id.
CREATE TABLE pages (
    id         uuid PRIMARY KEY,
    title      text NOT NULL DEFAULT '',
    owner      text NOT NULL, -- the user's `sub` in the user pool
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz -- set: the page is nobody's to open; its text is kept all the same
);

-- The head of a document's journal. `seq` is the number of its newest update: it is counted here, under
-- this row's lock, in the transaction that appends. So a document's numbers have no gaps, and what carries
-- a number below one that was seen has been committed.
CREATE TABLE documents (
    name       text PRIMARY KEY,
    seq        bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Append-only: Yjs updates exactly as their authors sent them.
CREATE TABLE updates (
    document   text NOT NULL,
    seq        bigint NOT NULL,
    data       bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (document, seq)
);
