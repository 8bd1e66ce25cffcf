-- What is so now: one row for each claim and instance, gone ones included until they are pruned.
-- "about" is what the newest state says, and the columns are read off it; dates are those of the history.

CREATE TABLE agentpool.claims (
    uid             text PRIMARY KEY,
    namespace       text        NOT NULL,
    name            text        NOT NULL,
    pool            text        NOT NULL,
    created         timestamptz NOT NULL,
    version         bigint      NOT NULL,
    about           jsonb       NOT NULL,
    phase           text    GENERATED ALWAYS AS (about ->> 'phase') STORED,
    agent_name      text    GENERATED ALWAYS AS (about ->> 'agentName') STORED,
    priority        integer GENERATED ALWAYS AS ((about ->> 'priority')::integer) STORED,
    instance        text    GENERATED ALWAYS AS (about ->> 'instance') STORED,
    conversation_id text    GENERATED ALWAYS AS (about ->> 'conversationId') STORED,
    joined          boolean GENERATED ALWAYS AS ((about ->> 'joined')::boolean) STORED,
    attempts        integer GENERATED ALWAYS AS ((about ->> 'attempts')::integer) STORED,
    labels          jsonb   GENERATED ALWAYS AS (about -> 'labels') STORED,
    created_at      timestamptz,
    bound_at        timestamptz,
    ended_at        timestamptz,
    ended_as        text,
    end_reason      text,
    end_message     text,
    gone_at         timestamptz,
    instructions    text,
    join_url        text,
    invite_url      text
);

COMMENT ON TABLE agentpool.claims IS 'Each claim as it was last known.';
COMMENT ON COLUMN agentpool.claims.ended_as IS 'Released, Failed, Evicted or Expired.';

CREATE INDEX claims_created ON agentpool.claims (created);
CREATE INDEX claims_name ON agentpool.claims (name);

CREATE TABLE agentpool.instances (
    uid             text PRIMARY KEY,
    namespace       text        NOT NULL,
    name            text        NOT NULL,
    pool            text        NOT NULL,
    created         timestamptz NOT NULL,
    version         bigint      NOT NULL,
    about           jsonb       NOT NULL,
    phase           text  GENERATED ALWAYS AS (about ->> 'phase') STORED,
    backend         text  GENERATED ALWAYS AS (about ->> 'backend') STORED,
    place           text  GENERATED ALWAYS AS (about ->> 'place') STORED,
    backend_id      text  GENERATED ALWAYS AS (about ->> 'backendId') STORED,
    template_hash   text  GENERATED ALWAYS AS (about ->> 'templateHash') STORED,
    source          text  GENERATED ALWAYS AS (about ->> 'source') STORED,
    claim_uid       text  GENERATED ALWAYS AS (about ->> 'claimUid') STORED,
    claim_name      text  GENERATED ALWAYS AS (about ->> 'claimName') STORED,
    agent_name      text  GENERATED ALWAYS AS (about ->> 'agentName') STORED,
    conversation_id text  GENERATED ALWAYS AS (about ->> 'conversationId') STORED,
    held            jsonb GENERATED ALWAYS AS (about -> 'held') STORED,
    created_at      timestamptz,
    launched_at     timestamptz,
    ready_at        timestamptz,
    bound_at        timestamptz,
    claimed_at      timestamptz,
    crashed_at      timestamptz,
    crash_reason    text,
    deleted_at      timestamptz,
    gone_at         timestamptz
);

COMMENT ON TABLE agentpool.instances IS 'Each instance as it was last known.';
COMMENT ON COLUMN agentpool.instances.bound_at IS 'When it was given to its claim; the claim is bound once it answers.';
COMMENT ON COLUMN agentpool.instances.crashed_at IS 'The last time.';
COMMENT ON COLUMN agentpool.instances.held IS 'What it had to itself, besides its program: a list of objects.';

CREATE INDEX instances_created ON agentpool.instances (created);
CREATE INDEX instances_name ON agentpool.instances (name);
CREATE INDEX instances_claim ON agentpool.instances (claim_uid) WHERE claim_uid IS NOT NULL;

CREATE FUNCTION agentpool.seconds(since timestamptz, until timestamptz) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
'SELECT CASE WHEN since IS NULL OR until IS NULL THEN NULL
             ELSE GREATEST(EXTRACT(epoch FROM until - since), 0)::double precision END';

COMMENT ON FUNCTION agentpool.seconds IS 'From one date to another; never less than 0, since clocks differ.';

CREATE VIEW agentpool.claim_overview AS
SELECT c.namespace, c.name AS claim, c.pool, c.agent_name AS agent,
       -- Whoever deletes a claim gives its agent back, whether or not the deletion itself was seen.
       CASE WHEN c.ended_as IS NULL AND c.gone_at IS NOT NULL THEN 'Released'
            ELSE COALESCE(c.ended_as, c.phase, 'Pending') END AS outcome,
       c.end_reason AS reason, c.end_message AS message,
       c.created_at, i.bound_at AS assigned_at, c.bound_at,
       COALESCE(c.ended_at, c.gone_at) AS ended_at,
       agentpool.seconds(c.created_at, COALESCE(i.bound_at, c.bound_at)) AS queued_seconds,
       agentpool.seconds(i.bound_at, c.bound_at) AS provision_seconds,
       agentpool.seconds(c.created_at, c.bound_at) AS bind_seconds,
       agentpool.seconds(c.bound_at, COALESCE(c.ended_at, c.gone_at)) AS held_seconds,
       c.attempts, c.conversation_id, c.joined,
       COALESCE(i.name, c.instance) AS instance, i.backend, i.place, i.backend_id, i.template_hash, i.source, i.held,
       c.labels, c.priority, c.instructions, c.join_url, c.invite_url, c.uid, i.uid AS instance_uid
FROM agentpool.claims c
LEFT JOIN LATERAL (
    -- The one that served it, else the last one that was given to it.
    SELECT * FROM agentpool.instances i
    WHERE i.claim_uid = c.uid
    ORDER BY i.name = c.instance DESC NULLS LAST, i.bound_at DESC NULLS LAST, i.uid
    LIMIT 1
) i ON true;

COMMENT ON VIEW agentpool.claim_overview IS
    'Who claimed what, when, how long each stage took, which conversation, how it ended, what it ran on and held.';

CREATE VIEW agentpool.instance_overview AS
SELECT namespace, name AS instance, pool,
       CASE WHEN gone_at IS NOT NULL THEN 'Gone' ELSE COALESCE(phase, 'Starting') END AS phase,
       backend, place, backend_id, template_hash, source, held, claim_name AS claim, agent_name AS agent,
       conversation_id, created_at, launched_at, ready_at, bound_at, claimed_at, crashed_at, crash_reason, deleted_at,
       gone_at,
       agentpool.seconds(created_at, launched_at) AS launch_seconds,
       agentpool.seconds(launched_at, ready_at) AS boot_seconds,
       agentpool.seconds(ready_at, COALESCE(bound_at, deleted_at)) AS idle_seconds,
       agentpool.seconds(deleted_at, gone_at) AS end_seconds,
       uid, claim_uid
FROM agentpool.instances;

COMMENT ON VIEW agentpool.instance_overview IS 'What became of each instance, and how long each part of its life took.';
