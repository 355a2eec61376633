"""Airflow's end of the channel by which a triggerer's process pushes XComs (Airflow 3.3)."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import msgspec
from airflow.providers.common.compat.sdk import XCom
from airflow.sdk.execution_time.comms import GetXCom, MaskSecret, SetXCom, XComResult, _RequestFrame


class Supervisor:
    """Airflow's end of the triggerer's channel; below the SDK's ``XCom``, so that its serializer is the real one."""

    def __init__(self, **stored: Any) -> None:
        self.stored = stored
        self.set: list[str] = []
        self.slow_s = 0.0
        self.broken_key = ""
        self.threads: set[int] = set()

    def send(self, message: Any) -> Any:
        if isinstance(message, MaskSecret):  # sent when a connection is read
            return None
        frame = _RequestFrame(id=1, body=message.model_dump()).as_bytes()
        body = msgspec.msgpack.decode(frame[4:], type=_RequestFrame).body
        message = type(message).model_validate(body)
        self.threads.add(threading.get_ident())
        time.sleep(self.slow_s)
        assert (message.dag_id, message.task_id, message.run_id, message.map_index) == ("dag", "t", "run", -1)
        if isinstance(message, GetXCom):
            return XComResult(key=message.key, value=self.stored.get(message.key))
        assert isinstance(message, SetXCom)
        if message.key == self.broken_key:
            raise ConnectionError("the API server is away")
        self.stored[message.key] = json.loads(json.dumps(message.value, allow_nan=False))
        self.set.append(message.key)
        return None

    def pulled(self, key: str) -> Any:
        """Return what a downstream task gets."""
        return XCom.get_one(key=key, dag_id="dag", task_id="t", run_id="run", map_index=-1)
