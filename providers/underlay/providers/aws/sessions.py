"""Sessions of the SDK: settings of their own, and descriptions of the services that all of them share.

Those are megabytes of JSON. Reading them holds up every other thread, and kept once for each session they would be the
most that an operator with a few providers has in memory.
"""

from functools import cache

from botocore.loaders import Loader, create_loader
from botocore.session import Session


def new_session(region: str = "") -> Session:
    """A session; without ``region`` that of its surroundings, if they tell one."""
    session = Session()
    session.register_component("data_loader", _descriptions(session.get_config_variable("data_path")))
    if region:
        session.set_config_variable("region", region)
    return session


@cache
def _descriptions(path: str | None) -> Loader:
    """What is read of the SDK's own data stays as it is for the life of the process."""
    return create_loader(path)
