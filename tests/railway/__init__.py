"""A Railway on loopback: its GraphQL API, its deployments as real processes, its edge, and what goes wrong there."""

from tests.railway.faults import Fault, Faults
from tests.railway.programs import Catalogue, Image, Program, Repository
from tests.railway.remote import RemoteControl, TwinProcess
from tests.railway.settings import Settings
from tests.railway.twin import Twin

__all__ = [
    "Catalogue",
    "Fault",
    "Faults",
    "Image",
    "Program",
    "RemoteControl",
    "Repository",
    "Settings",
    "Twin",
    "TwinProcess",
]
