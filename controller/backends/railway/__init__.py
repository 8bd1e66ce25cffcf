"""The railway backend: instances are services of environments of Railway projects."""

from controller.backends.railway.address import read_address
from controller.backends.railway.client import open_http
from controller.backends.railway.provider import RailwayProvider
from controller.errors import Misconfigured, Unusable
from controller.ports import BackendOptions

__all__ = ["RailwayProvider", "open_backend", "open_logs"]


async def open_backend(options: BackendOptions) -> RailwayProvider:
    """The provider for Railway at RAILWAY_API_URL. ``Unusable`` when that cannot be meant."""
    try:
        address = read_address(options.environ)
    except Misconfigured as error:
        raise Unusable(str(error)) from None
    return RailwayProvider(address, options.installation, open_http())


open_logs = open_backend
