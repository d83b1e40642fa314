-- The first shape of the journal. Times are microseconds since 1970, bodies are JSON.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

INSERT INTO meta (key, value) VALUES ('installation', lower(hex(randomblob(8))));

CREATE TABLE apps (
    app        TEXT PRIMARY KEY,
    revision   INTEGER NOT NULL CHECK (revision > 0),
    state      TEXT NOT NULL,
    -- Ids of the events of the last commit (JSON array): how a repeated commit is recognised.
    event_ids  TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE events (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id  TEXT NOT NULL UNIQUE,
    -- NULL: an event of the daemon itself.
    app         TEXT,
    recorded_at INTEGER NOT NULL,
    body        TEXT NOT NULL
) STRICT;

CREATE INDEX events_by_app ON events (app, sequence);
CREATE INDEX events_by_age ON events (recorded_at);

-- Delivered messages are deleted; AUTOINCREMENT keeps their numbers from being used again.
CREATE TABLE outbox (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    receiver    TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    body        TEXT NOT NULL,
    queued_at   INTEGER NOT NULL,
    due_at      INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    -- What went wrong last.
    reason      TEXT,
    -- NULL while it waits; otherwise when it was given up.
    given_up_at INTEGER,
    UNIQUE (receiver, message_id)
) STRICT;

CREATE INDEX outbox_waiting ON outbox (receiver, sequence) WHERE given_up_at IS NULL;
CREATE INDEX outbox_dead ON outbox (given_up_at) WHERE given_up_at IS NOT NULL;
