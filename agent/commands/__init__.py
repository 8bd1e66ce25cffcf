"""What an agent runs in its own container to have the operator do something: request-agent, release-agent, heartbeat.

The operator is asked at POOL_URL, as the instance INSTANCE_ID, with the instance's own token as bearer token. All
three are POSTs with a JSON object that has instanceId, and are answered by a JSON object:

- /api/agents/request {instanceId, agent, instructions?}: 200 {status: "started" | "already_running", agent, inviteUrl?,
  evicted?}, or 503 {status: "pool_full", error};
- /api/agents/release {instanceId, agent}: 200 {status: "released" | "not_running", agent};
- /api/agents/heartbeat {instanceId}: 200 {status: "ok"}.

Refusals are {error: one sentence}: 400 for what makes no sense, 401 for a wrong token, 403 for what the agent may not
do, 409 for what does not fit the state of things, 413 for too much, 404 or 501 from an operator without all this.
"""
