-- What happened, one row for each transition: written once, never changed.

CREATE TABLE agentpool.claim_history (
    id         bigint GENERATED ALWAYS AS IDENTITY,
    uid        text        NOT NULL,
    transition text        NOT NULL,
    ordinal    text        NOT NULL,
    created    timestamptz NOT NULL,
    at         timestamptz NOT NULL,
    seen       timestamptz NOT NULL,
    namespace  text        NOT NULL,
    name       text        NOT NULL,
    pool       text        NOT NULL,
    version    bigint      NOT NULL,
    rank       smallint    NOT NULL,
    reason     text        NOT NULL,
    message    text        NOT NULL,
    about      jsonb       NOT NULL,
    content    jsonb,
    PRIMARY KEY (uid, transition, ordinal, created)
) PARTITION BY RANGE (created);

COMMENT ON TABLE agentpool.claim_history IS
    'What happened to claims. The key is the same whoever derives a transition, so that writing it twice is harmless.';
COMMENT ON COLUMN agentpool.claim_history.id IS 'In the order of arrival; with gaps.';
COMMENT ON COLUMN agentpool.claim_history.ordinal IS 'Tells two of the same transition apart, where there can be two.';
COMMENT ON COLUMN agentpool.claim_history.created IS
    'When the claim was created, as the API server says: all rows of one claim are in one partition.';
COMMENT ON COLUMN agentpool.claim_history.at IS 'When it happened.';
COMMENT ON COLUMN agentpool.claim_history.seen IS 'When an operator saw it.';
COMMENT ON COLUMN agentpool.claim_history.version IS 'Resource version of the state that it was read off.';
COMMENT ON COLUMN agentpool.claim_history.rank IS 'Place of the transition in a life.';
COMMENT ON COLUMN agentpool.claim_history.about IS 'What else that state said.';
COMMENT ON COLUMN agentpool.claim_history.content IS
    'Instructions and links into the conversation; only where the operator is told to store them.';

CREATE INDEX claim_history_name ON agentpool.claim_history (name);

CREATE TABLE agentpool.instance_history (
    id         bigint GENERATED ALWAYS AS IDENTITY,
    uid        text        NOT NULL,
    transition text        NOT NULL,
    ordinal    text        NOT NULL,
    created    timestamptz NOT NULL,
    at         timestamptz NOT NULL,
    seen       timestamptz NOT NULL,
    namespace  text        NOT NULL,
    name       text        NOT NULL,
    pool       text        NOT NULL,
    version    bigint      NOT NULL,
    rank       smallint    NOT NULL,
    reason     text        NOT NULL,
    message    text        NOT NULL,
    about      jsonb       NOT NULL,
    claim_uid  text GENERATED ALWAYS AS (about ->> 'claimUid') STORED,
    PRIMARY KEY (uid, transition, ordinal, created)
) PARTITION BY RANGE (created);

COMMENT ON TABLE agentpool.instance_history IS
    'What happened to instances; columns as in claim_history, partitioned by the creation of the instance.';

CREATE INDEX instance_history_name ON agentpool.instance_history (name);
CREATE INDEX instance_history_claim ON agentpool.instance_history (claim_uid) WHERE claim_uid IS NOT NULL;

-- The operator may not create tables, but has to be able to begin a month. It can do nothing else by this.
CREATE FUNCTION agentpool.ensure_month(moment timestamptz) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    first timestamp := date_trunc('month', moment AT TIME ZONE 'UTC');
    part  text;
    whole text;
BEGIN
    IF EXTRACT(year FROM first) NOT BETWEEN 1970 AND 9998 THEN
        RAISE EXCEPTION 'there is no month for %', moment USING ERRCODE = 'datetime_field_overflow';
    END IF;
    FOREACH whole IN ARRAY ARRAY ['claim_history', 'instance_history'] LOOP
        part := whole || to_char(first, '"_y"YYYY"m"MM');
        CONTINUE WHEN to_regclass(format('agentpool.%I', part)) IS NOT NULL;
        PERFORM pg_advisory_xact_lock(hashtext('agentpool.ensure_month'));
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS agentpool.%I PARTITION OF agentpool.%I FOR VALUES FROM (%L) TO (%L)',
            part, whole, first AT TIME ZONE 'UTC', (first + interval '1 month') AT TIME ZONE 'UTC');
    END LOOP;
END
$$;

COMMENT ON FUNCTION agentpool.ensure_month IS 'Makes the partitions for what was created in that month, if need be.';
