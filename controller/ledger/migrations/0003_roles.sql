-- The operator adds to the ledger and reads it. It cannot take anything back.

DO
$$
BEGIN
    IF to_regrole('agentpool_operator') IS NULL THEN
        CREATE ROLE agentpool_operator NOLOGIN;
    END IF;
EXCEPTION
    -- Roles belong to all databases of a server: another one may be migrated at the same time.
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

DO
$$
BEGIN
    -- So that an operator which comes as the owner can put on the role and leave its own rights behind.
    EXECUTE format('GRANT agentpool_operator TO %I', current_user);
EXCEPTION
    WHEN OTHERS THEN NULL;
END
$$;

REVOKE ALL ON SCHEMA agentpool FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA agentpool FROM PUBLIC;
REVOKE ALL ON FUNCTION agentpool.ensure_month FROM PUBLIC;

GRANT USAGE ON SCHEMA agentpool TO agentpool_operator;
GRANT SELECT ON agentpool.migrations, agentpool.claim_overview, agentpool.instance_overview TO agentpool_operator;
GRANT SELECT, INSERT ON agentpool.claim_history, agentpool.instance_history TO agentpool_operator;
GRANT EXECUTE ON FUNCTION agentpool.ensure_month, agentpool.seconds TO agentpool_operator;
GRANT SELECT, INSERT ON agentpool.claims, agentpool.instances TO agentpool_operator;
GRANT UPDATE (version, about, created_at, bound_at, ended_at, ended_as, end_reason, end_message, gone_at, instructions,
              join_url, invite_url) ON agentpool.claims TO agentpool_operator;
GRANT UPDATE (version, about, created_at, launched_at, ready_at, bound_at, claimed_at, crashed_at, crash_reason,
              deleted_at, gone_at) ON agentpool.instances TO agentpool_operator;
