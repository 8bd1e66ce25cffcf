-- Everything that the program asks of Postgres, by name. Parameters are psycopg's: %(name)s.

-- name: schema_version
SELECT COALESCE(max(version), 0) FROM agentpool.migrations;

-- name: begin_session
SELECT set_config('application_name', 'agentpool', false), set_config('timezone', 'UTC', false),
       set_config('statement_timeout', '10s', false), set_config('lock_timeout', '8s', false),
       set_config('idle_in_transaction_session_timeout', '15s', false);

-- name: begin_reading
SELECT set_config('application_name', 'agentpool ledger', false), set_config('timezone', 'UTC', false),
       set_config('default_transaction_read_only', 'on', false), set_config('statement_timeout', '120s', false);

-- name: put_on_role
-- Since Postgres 16 a membership may be one that does not let its member put on the role.
SELECT set_config('role', rolname, false) FROM pg_roles
WHERE rolname = 'agentpool_operator' AND pg_has_role(
    session_user, oid, CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END);

-- name: who_could_alter
-- Of whoever has not put on the role: who logged in, if that one has the rights of an owner.
SELECT quote_ident(session_user) WHERE current_user <> 'agentpool_operator' AND EXISTS (
    SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE pg_class.oid IN ('agentpool.claim_history'::regclass, 'agentpool.instance_history'::regclass,
                           'agentpool.claims'::regclass, 'agentpool.instances'::regclass)
      AND (pg_has_role(current_user, relowner, 'USAGE') OR pg_has_role(current_user, nspowner, 'USAGE')));

-- name: ensure_month
SELECT agentpool.ensure_month(%(moment)s);

-- name: record
-- One statement and one transaction: an operator that is frozen in the middle leaves no lock behind.
WITH input AS MATERIALIZED (
    SELECT item ->> 'kind' AS kind, item ->> 'uid' AS uid, item ->> 'namespace' AS namespace, item ->> 'name' AS name,
           item ->> 'pool' AS pool, item ->> 'transition' AS transition, item ->> 'ordinal' AS ordinal,
           (item ->> 'created')::timestamptz AS created, (item ->> 'at')::timestamptz AS at,
           (item ->> 'seen')::timestamptz AS seen, (item ->> 'version')::bigint AS version,
           (item ->> 'rank')::smallint AS rank, item ->> 'reason' AS reason, item ->> 'message' AS message,
           item -> 'about' AS about, item -> 'content' AS content, position
    FROM jsonb_array_elements(%(records)s::jsonb) WITH ORDINALITY AS each (item, position)
), claim_rows AS (
    INSERT INTO agentpool.claim_history (uid, transition, ordinal, created, at, seen, namespace, name, pool, version,
                                         rank, reason, message, about, content)
    SELECT uid, transition, ordinal, created, at, seen, namespace, name, pool, version, rank, reason, message, about,
           content
    FROM input WHERE kind = 'AgentClaim' ORDER BY position
    ON CONFLICT (uid, transition, ordinal, created) DO NOTHING
    RETURNING 1
), instance_rows AS (
    INSERT INTO agentpool.instance_history (uid, transition, ordinal, created, at, seen, namespace, name, pool, version,
                                            rank, reason, message, about)
    SELECT uid, transition, ordinal, created, at, seen, namespace, name, pool, version, rank, reason, message, about
    FROM input WHERE kind = 'AgentInstance' ORDER BY position
    ON CONFLICT (uid, transition, ordinal, created) DO NOTHING
    RETURNING 1
), claims_now AS (
    INSERT INTO agentpool.claims AS known (uid, namespace, name, pool, created, version, about, created_at, bound_at,
                                           ended_at, ended_as, end_reason, end_message, gone_at, instructions, join_url,
                                           invite_url)
    SELECT uid, min(namespace), min(name), min(pool), min(created), max(version),
           (array_agg(about ORDER BY version DESC, position DESC))[1],
           min(at) FILTER (WHERE transition = 'Created'),
           min(at) FILTER (WHERE transition = 'Bound'),
           min(at) FILTER (WHERE transition IN ('Failed', 'Evicted', 'Expired', 'Released')),
           min(transition) FILTER (WHERE transition IN ('Failed', 'Evicted', 'Expired', 'Released')),
           min(reason) FILTER (WHERE transition IN ('Failed', 'Evicted', 'Expired', 'Released')),
           min(message) FILTER (WHERE transition IN ('Failed', 'Evicted', 'Expired', 'Released')),
           min(at) FILTER (WHERE transition = 'Gone'),
           min(content ->> 'instructions'), min(content ->> 'joinUrl'),
           (array_agg(content ->> 'inviteUrl' ORDER BY version DESC, position DESC)
               FILTER (WHERE content ? 'inviteUrl'))[1]
    FROM input WHERE kind = 'AgentClaim' GROUP BY uid ORDER BY uid
    ON CONFLICT (uid) DO UPDATE SET
        version = GREATEST(known.version, excluded.version),
        about = CASE WHEN excluded.version >= known.version THEN excluded.about ELSE known.about END,
        created_at = COALESCE(known.created_at, excluded.created_at),
        bound_at = COALESCE(known.bound_at, excluded.bound_at),
        ended_at = COALESCE(known.ended_at, excluded.ended_at),
        ended_as = COALESCE(known.ended_as, excluded.ended_as),
        end_reason = COALESCE(known.end_reason, excluded.end_reason),
        end_message = COALESCE(known.end_message, excluded.end_message),
        gone_at = COALESCE(known.gone_at, excluded.gone_at),
        instructions = COALESCE(known.instructions, excluded.instructions),
        join_url = COALESCE(known.join_url, excluded.join_url),
        invite_url = CASE WHEN excluded.version >= known.version THEN COALESCE(excluded.invite_url, known.invite_url)
                          ELSE COALESCE(known.invite_url, excluded.invite_url) END
), instances_now AS (
    INSERT INTO agentpool.instances AS known (uid, namespace, name, pool, created, version, about, created_at,
                                              launched_at, ready_at, bound_at, claimed_at, crashed_at, crash_reason,
                                              deleted_at, gone_at)
    SELECT uid, min(namespace), min(name), min(pool), min(created), max(version),
           (array_agg(about ORDER BY version DESC, position DESC))[1],
           min(at) FILTER (WHERE transition = 'Created'),
           min(at) FILTER (WHERE transition = 'Launched'),
           min(at) FILTER (WHERE transition = 'Ready'),
           min(at) FILTER (WHERE transition = 'Bound'),
           min(at) FILTER (WHERE transition = 'Claimed'),
           max(at) FILTER (WHERE transition = 'Crashed'),
           (array_agg(reason ORDER BY at DESC, position) FILTER (WHERE transition = 'Crashed'))[1],
           min(at) FILTER (WHERE transition = 'Deleting'),
           min(at) FILTER (WHERE transition = 'Gone')
    FROM input WHERE kind = 'AgentInstance' GROUP BY uid ORDER BY uid
    ON CONFLICT (uid) DO UPDATE SET
        version = GREATEST(known.version, excluded.version),
        about = CASE WHEN excluded.version >= known.version THEN excluded.about ELSE known.about END,
        created_at = COALESCE(known.created_at, excluded.created_at),
        launched_at = COALESCE(known.launched_at, excluded.launched_at),
        ready_at = COALESCE(known.ready_at, excluded.ready_at),
        bound_at = COALESCE(known.bound_at, excluded.bound_at),
        claimed_at = COALESCE(known.claimed_at, excluded.claimed_at),
        crash_reason = CASE WHEN excluded.crashed_at IS NULL OR excluded.crashed_at <= known.crashed_at
                            THEN known.crash_reason ELSE excluded.crash_reason END,
        crashed_at = GREATEST(known.crashed_at, excluded.crashed_at),
        deleted_at = COALESCE(known.deleted_at, excluded.deleted_at),
        gone_at = COALESCE(known.gone_at, excluded.gone_at)
)
SELECT (SELECT count(*) FROM claim_rows) + (SELECT count(*) FROM instance_rows);

-- name: history
WITH subject AS (
    SELECT uid FROM agentpool.claims
    WHERE (uid = %(wanted)s OR name = %(wanted)s) AND (%(namespace)s::text IS NULL OR namespace = %(namespace)s)
    UNION
    SELECT uid FROM agentpool.instances
    WHERE (uid = %(wanted)s OR name = %(wanted)s) AND (%(namespace)s::text IS NULL OR namespace = %(namespace)s)
), served AS (
    SELECT uid FROM agentpool.instances WHERE claim_uid IN (SELECT uid FROM subject)
)
SELECT at, kind, namespace, name, transition, ordinal, reason, message, seen, uid
FROM (
    SELECT at, 'AgentClaim' AS kind, namespace, name, transition, ordinal, reason, message, seen, uid, version, rank, id
    FROM agentpool.claim_history WHERE uid IN (SELECT uid FROM subject)
    UNION ALL
    SELECT at, 'AgentInstance', namespace, name, transition, ordinal, reason, message, seen, uid, version, rank, id
    FROM agentpool.instance_history
    WHERE uid IN (SELECT uid FROM subject UNION SELECT uid FROM served)
) told
ORDER BY at, version, rank, kind DESC, id;

-- name: claims
SELECT namespace, claim, pool, agent, outcome, created_at, queued_seconds, provision_seconds, bind_seconds,
       held_seconds, instance, backend, place, backend_id, template_hash, source, held, conversation_id, reason, message,
       assigned_at, bound_at, ended_at, attempts, joined, labels, priority, instructions, join_url, invite_url, uid,
       instance_uid
FROM agentpool.claim_overview
WHERE (%(namespace)s::text IS NULL OR namespace = %(namespace)s)
  AND (%(agent)s::text IS NULL OR agent = %(agent)s)
  AND (%(pool)s::text IS NULL OR pool = %(pool)s)
  AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
ORDER BY created_at DESC, uid
LIMIT %(limit)s;

-- name: usage
SELECT CASE %(by)s::text WHEN 'pool' THEN namespace || '/' || pool
                   WHEN 'agent' THEN agent
                   ELSE to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') END AS subject,
       count(*) AS claims,
       count(bound_at) AS bound,
       count(*) FILTER (WHERE bound_at IS NULL AND outcome IN ('Pending', 'Binding', 'PendingAcceptance')) AS waiting,
       count(*) FILTER (WHERE bound_at IS NULL AND outcome = 'Released') AS withdrawn,
       count(*) FILTER (WHERE outcome = 'Failed') AS failed,
       count(*) FILTER (WHERE outcome = 'Evicted') AS evicted,
       count(*) FILTER (WHERE outcome = 'Expired') AS expired,
       count(*) FILTER (WHERE bound_at IS NOT NULL AND ended_at IS NULL) AS held_now,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY bind_seconds) AS median_bind_seconds,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY bind_seconds) AS p95_bind_seconds,
       sum(agentpool.seconds(bound_at, COALESCE(ended_at, %(now)s))) / 3600 AS agent_hours
FROM agentpool.claim_overview
WHERE (%(namespace)s::text IS NULL OR namespace = %(namespace)s)
  AND (%(agent)s::text IS NULL OR agent = %(agent)s)
  AND (%(pool)s::text IS NULL OR pool = %(pool)s)
  AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
GROUP BY 1 ORDER BY 1;

-- name: parts
SELECT part.relname, whole.relname
FROM pg_inherits
JOIN pg_class part ON part.oid = inhrelid
JOIN pg_class whole ON whole.oid = inhparent
WHERE whole.oid IN ('agentpool.claim_history'::regclass, 'agentpool.instance_history'::regclass)
ORDER BY right(part.relname, 7), whole.relname;

-- name: keep_writers_out
-- In the order in which "record" takes them, or the two could wait for each other; history as strictly as DROP will.
LOCK TABLE ONLY agentpool.claim_history, ONLY agentpool.instance_history IN ACCESS EXCLUSIVE MODE;
LOCK TABLE agentpool.claims, agentpool.instances IN SHARE ROW EXCLUSIVE MODE;

-- name: alive
SELECT (SELECT count(*) FROM agentpool.claims
        WHERE gone_at IS NULL AND created >= %(first)s AND created < %(next)s),
       (SELECT count(*) FROM agentpool.instances
        WHERE gone_at IS NULL AND created >= %(first)s AND created < %(next)s);

-- name: forget_claims
DELETE FROM agentpool.claims WHERE created >= %(first)s AND created < %(next)s;

-- name: forget_instances
DELETE FROM agentpool.instances WHERE created >= %(first)s AND created < %(next)s;
