"""
A local server of ``google.longrunning.Operations`` over REST, for demos and tests.

It shares no code with the client side of this package: what both agree on is the protocol. Needs
starlette and uvicorn, which come with Airflow 3. The journal keeps requests whole, ``authorization``
header included, so it binds loopback unless told otherwise.

Source: https://google.aip.dev/151
"""

from __future__ import annotations

from .client import EmulatorControls
from .process import EmulatorProcess
from .server import Emulator

__all__ = ["Emulator", "EmulatorControls", "EmulatorProcess"]
