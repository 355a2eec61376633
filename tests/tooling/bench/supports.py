"""
Tell whether our trigger takes some arguments: ``python -m tests.tooling.bench.supports JSON RESULT_FILE``.

A trigger that raises when it is made takes a real triggerer down with it, so this is asked before.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from airflow_provider_operations.triggers import OperationTrigger

if __name__ == "__main__":
    trigger = OperationTrigger("operations/one", **json.loads(sys.argv[1]))
    Path(sys.argv[2]).write_text(json.dumps(trigger.serialize()))
