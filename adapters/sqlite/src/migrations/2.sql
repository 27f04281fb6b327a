-- Who has written last: a writer that finds another one here knows that it has missed something.
CREATE TABLE last_writer (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    writer INTEGER NOT NULL
) STRICT;

INSERT INTO last_writer (one, writer) VALUES (1, 0);
