CREATE TABLE counters (
    tenant uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    value bigint NOT NULL,
    PRIMARY KEY (tenant, name)
) WITH (fillfactor = 70);

CREATE TABLE logs (
    log_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    length bigint NOT NULL,
    UNIQUE (tenant, name)
) WITH (fillfactor = 70);

CREATE TABLE log_entries (
    log_id bigint NOT NULL,
    seq bigint NOT NULL,
    bytes bytea NOT NULL,
    PRIMARY KEY (log_id, seq)
);

-- Unix microseconds as RFC 3339 in UTC, such as 2026-11-20T09:30:00.000001Z; as they are beyond four digits of a year.
CREATE FUNCTION rfc3339(micros bigint) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN micros BETWEEN -62135596800000000 AND 253402300799999999 THEN
            to_char(
                timestamp 'epoch' + micros / 1000000 * interval '1 second' + micros % 1000000 * interval '1 microsecond',
                'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
            )
        ELSE micros::text
    END
$$;
