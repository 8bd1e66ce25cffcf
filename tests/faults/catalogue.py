"""Every fault there is, in the order of the table."""

from tests.faults.api_faults import API_FAULTS
from tests.faults.bad_day import BAD_DAYS
from tests.faults.deaths import DEATHS
from tests.faults.fault import Fault
from tests.faults.server_faults import SERVER_FAULTS

FAULTS: tuple[Fault, ...] = (*DEATHS, *API_FAULTS, *BAD_DAYS, *SERVER_FAULTS)
