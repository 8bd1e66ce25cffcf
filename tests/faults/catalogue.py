"""Every fault there is, in the order of the table."""

from tests.faults.api_faults import API_FAULTS
from tests.faults.bad_day import BAD_DAYS
from tests.faults.deaths import DEATHS
from tests.faults.engine_faults import ENGINE_FAULTS
from tests.faults.fault import Fault
from tests.faults.host_faults import HOST_FAULTS
from tests.faults.leader_faults import LEADER_FAULTS
from tests.faults.postgres_faults import POSTGRES_FAULTS
from tests.faults.runtime_faults import RUNTIME_FAULTS
from tests.faults.server_faults import SERVER_FAULTS

FAULTS: tuple[Fault, ...] = (
    *DEATHS,
    *LEADER_FAULTS,
    *API_FAULTS,
    *BAD_DAYS,
    *SERVER_FAULTS,
    *POSTGRES_FAULTS,
    *RUNTIME_FAULTS,
    *HOST_FAULTS,
    *ENGINE_FAULTS,
)
