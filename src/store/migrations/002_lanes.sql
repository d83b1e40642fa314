-- Messages know their lane (an app, or NULL for the organization), their size, what gives way first,
-- and since when they fail. Notes are texts of the daemon under a key.

ALTER TABLE outbox ADD COLUMN lane TEXT;
ALTER TABLE outbox ADD COLUMN importance INTEGER NOT NULL DEFAULT 2;
ALTER TABLE outbox ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN failed_since INTEGER;

UPDATE outbox SET size = length(CAST(body AS BLOB)),
    lane = (SELECT app FROM events WHERE events.message_id = outbox.message_id),
    failed_since = CASE WHEN attempts > 0 THEN queued_at END;

CREATE TABLE notes (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
