-- Who may do what with a page. Its owner may do everything; a member what the role says; everybody else who
-- is signed in what `everybody` says: edit, view, or (NULL) nothing. A member's own role comes first.
ALTER TABLE pages ADD COLUMN everybody text DEFAULT 'edit' CHECK (everybody IN ('edit', 'view'));

CREATE TABLE page_members (
    page     uuid NOT NULL REFERENCES pages ON DELETE CASCADE,
    person   text NOT NULL, -- the user's `sub` in the user pool
    role     text NOT NULL CHECK (role IN ('edit', 'view')),
    added_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (page, person)
);

-- Who has signed in so far, as their ID tokens say: the user pool cannot be asked from a private subnet.
CREATE TABLE people (
    id      text PRIMARY KEY, -- the user's `sub`
    email   text NOT NULL,
    name    text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON people (lower(email));

-- The one place where that rule stands: owner, edit, view, or NULL.
CREATE FUNCTION page_role(pages, text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN $1.deleted_at IS NOT NULL THEN NULL
        WHEN $1.owner = $2 THEN 'owner'
        ELSE coalesce(
            (SELECT member.role FROM page_members member WHERE member.page = $1.id AND member.person = $2),
            $1.everybody
        )
    END
$$;
