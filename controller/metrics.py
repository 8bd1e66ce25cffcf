"""What Prometheus sees. Labels never hold names of claims or agents, and never a secret."""

import functools

from prometheus_client import Counter, Gauge, Histogram

_FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

API_REQUESTS = Counter(
    "agentpool_api_requests_total",
    "Requests to the Kubernetes API server by the controller.",
    ["verb", "resource", "subresource", "code"],
)
WATCH_EVENTS = Counter("agentpool_watch_events_total", "Events that the watches brought.", ["resource"])
VIEW_REPAIRS = Counter(
    "agentpool_view_repairs_total", "Objects that the relist found the view wrong about: each one is a bug.", ["kind"]
)
PASSES = Counter("agentpool_passes_total", "Passes by kind and outcome.", ["kind", "outcome"])
ACTIONS = Counter("agentpool_actions_total", "Actions of plans by kind and outcome.", ["action", "outcome"])
QUEUE_DEPTH = Gauge("agentpool_queue_depth", "Keys that wait for a pass or are in one.")
CLAIM_BIND_SECONDS = Histogram(
    "agentpool_claim_bind_seconds",
    "From the controller's first sight of a claim until its status says Bound.",
    ["namespace", "pool"],
    buckets=_FAST,
)
CLAIMS_ENDED = Counter(
    "agentpool_claims_ended_total", "Claims that ended without being deleted.", ["namespace", "pool", "phase", "reason"]
)
INSTANCE_START_SECONDS = Histogram(
    "agentpool_instance_start_seconds",
    "From the creation of an instance until it was idle.",
    ["namespace", "pool"],
    buckets=(0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200),
)
INSTANCES_CRASHED = Counter(
    "agentpool_instances_crashed_total",
    "Instances that crashed or never became ready.",
    ["namespace", "pool", "reason"],
)
POOL_INSTANCES = Gauge("agentpool_pool_instances", "Instances of a pool by state.", ["namespace", "pool", "state"])
POOL_MIN_IDLE = Gauge("agentpool_pool_min_idle", "Instances that a pool shall hold idle.", ["namespace", "pool"])
POOL_MAX_TOTAL = Gauge("agentpool_pool_max_total", "Instances that a pool may have at all.", ["namespace", "pool"])
POOL_WAITING_CLAIMS = Gauge("agentpool_pool_waiting_claims", "Claims that wait for an instance.", ["namespace", "pool"])
POOL_CIRCUIT_OPEN = Gauge(
    "agentpool_pool_circuit_open", "1 while launches of a pool are put off because they fail.", ["namespace", "pool"]
)
BACKEND_AVAILABLE = Gauge(
    "agentpool_backend_available",
    "1 while a backend answers and takes launches; each place on Railway is a backend of its own.",
    ["backend"],
)
RAILWAY_REQUESTS = Counter(
    "agentpool_railway_requests_total", "Requests to Railway by operation and outcome.", ["operation", "outcome"]
)
RAILWAY_BUDGET_REMAINING = Gauge(
    "agentpool_railway_budget_remaining", "Requests that Railway still grants in this hour.", ["place"]
)
EVENTS_DROPPED = Counter(
    "agentpool_events_dropped_total", "Normal Events that were not published since more important writes waited."
)
LEADER = Gauge("agentpool_leader", "1 while this operator leads, 0 while it stands by.")
LEADER_TRANSITIONS = Counter(
    "agentpool_leader_transitions_total", "How often this operator began to lead, or ceased to."
)
ORPHANS_ENDED = Counter("agentpool_orphans_ended_total", "Remotes without an owner that were ended.", ["backend"])

LEDGER_UP = Gauge("agentpool_ledger_up", "1 while Postgres takes what the ledger has; absent without a ledger.")
LEDGER_BACKLOG = Gauge("agentpool_ledger_backlog_records", "Records that wait for Postgres.")
LEDGER_OLDEST_SECONDS = Gauge(
    "agentpool_ledger_oldest_seconds", "For how long the oldest of the records has been waiting for Postgres."
)
LEDGER_SPOOL_BYTES = Gauge("agentpool_ledger_spool_bytes", "Size of the ledger's queue on disk.")
LEDGER_RECORDS = Counter(
    "agentpool_ledger_records_total",
    "Records by outcome: stored; known, since Postgres had it; missed, for lack of room, and derived again later; "
    "refused, and set aside in a file.",
    ["outcome"],
)
LEDGER_BATCH_SECONDS = Histogram(
    "agentpool_ledger_batch_seconds", "How long Postgres took to store a batch of records.", buckets=_FAST
)


@functools.cache
def action_done(action: str) -> Counter:
    """The counter of actions that worked; looked up once per kind, since labels cost more than counting."""
    return ACTIONS.labels(action, "done")


@functools.cache
def api_request(verb: str, resource: str, subresource: str, code: str) -> Counter:
    """The counter of one kind of request."""
    return API_REQUESTS.labels(verb, resource, subresource, code)


def began_to_lead() -> None:
    """This process leads from now on."""
    LEADER.set(1)
    LEADER_TRANSITIONS.inc()


def ceased_to_lead() -> None:
    """This process leads no more: what it knew of pools and places is for the next one to tell."""
    LEADER.set(0)
    LEADER_TRANSITIONS.inc()
    QUEUE_DEPTH.set(0)
    for gauge in (
        *(POOL_INSTANCES, POOL_MIN_IDLE, POOL_MAX_TOTAL, POOL_WAITING_CLAIMS, POOL_CIRCUIT_OPEN),
        *(BACKEND_AVAILABLE, RAILWAY_BUDGET_REMAINING),
    ):
        gauge.clear()


def forget_place(place: str) -> None:
    """Drop the series of a place that was closed."""
    BACKEND_AVAILABLE.remove_by_labels({"backend": place})
    RAILWAY_BUDGET_REMAINING.remove_by_labels({"place": place})


def forget_pool(namespace: str, pool: str) -> None:
    """Drop the series of a pool that was deleted."""
    for gauge in (POOL_MIN_IDLE, POOL_MAX_TOTAL, POOL_WAITING_CLAIMS, POOL_CIRCUIT_OPEN):
        gauge.remove_by_labels({"namespace": namespace, "pool": pool})
    POOL_INSTANCES.remove_by_labels({"namespace": namespace, "pool": pool})
