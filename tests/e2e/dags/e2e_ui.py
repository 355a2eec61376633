"""Operations to look at in the UI: one that progresses, one that fails with everything, mapped ones, an orphan."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_operations.operators import RunOperationOperator

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
RPC = "type.googleapis.com/google.rpc."


def operation(**script: Any) -> dict[str, Any]:
    return {"operation": script}


with DAG(dag_id="e2e_ui_progress", schedule=None, catchup=False):
    RunOperationOperator(
        task_id="copy",
        path="projects/shop/tables:copy",
        json=operation(
            duration=3600,
            metadata={
                "@type": "type.example.com/shop.Copy",
                "progressPercent": 0,
                "stage": {"name": "copy", "tables": ["orders", "customers"]},
            },
            steps=[
                {
                    "at": 2 * i,
                    "metadata": {"progressPercent": min(i, 99), "statusMessage": f"{i} of 100 tables copied"},
                }
                for i in range(1, 400)
            ],
        ),
        deferrable=True,
        poke_interval=2,
    )

with DAG(dag_id="e2e_ui_failure", schedule=None, catchup=False):
    RunOperationOperator(
        task_id="train",
        path="projects/shop/models:train",
        poke_interval=1,
        json=operation(
            duration=1,
            metadata={"@type": "type.example.com/shop.Train", "progressPercent": 20},
            error={
                "code": 8,
                "message": "The training job could not get the machines it asked for.",
                "details": [
                    {
                        "@type": f"{RPC}ErrorInfo",
                        "reason": "GPU_QUOTA_EXCEEDED",
                        "domain": "training.example.com",
                        "metadata": {"region": "europe-west1", "asked": "8", "limit": "4"},
                    },
                    {
                        "@type": f"{RPC}BadRequest",
                        "fieldViolations": [
                            {"field": "machines[0].gpus", "description": "at most 4 in europe-west1"},
                            {"field": "machines[1].zone", "description": "not in europe-west1"},
                        ],
                    },
                    {
                        "@type": f"{RPC}Help",
                        "links": [
                            {"description": "Ask for more", "url": "https://console.example.com/quotas"}
                        ],
                    },
                ],
            },
        ),
    )

with DAG(dag_id="e2e_ui_hostile", schedule=None, catchup=False):
    RunOperationOperator(
        task_id="run",
        path="projects/shop/things:run",
        poke_interval=1,
        json=operation(
            name=f"operations/{HOSTILE.replace('/', '')}",
            duration=1,
            metadata={HOSTILE: HOSTILE, "statusMessage": HOSTILE},
            error={
                "code": 8,
                "message": HOSTILE,
                "details": [
                    {"@type": f"{RPC}BadRequest", "fieldViolations": [{"field": HOSTILE, HOSTILE: HOSTILE}]},
                    {
                        "@type": f"{RPC}Help",
                        "links": [{"description": HOSTILE, "url": "javascript:document.title='owned'"}],
                    },
                    {"@type": f"type.example.com/{HOSTILE}", HOSTILE: HOSTILE},
                ],
            },
        ),
    )

with DAG(dag_id="e2e_ui_mapped", schedule=None, catchup=False):
    RunOperationOperator.partial(
        task_id="run", path="projects/shop/things:run", deferrable=True, poke_interval=2
    ).expand(json=[operation(duration=3600, metadata={"statusMessage": f"number {i}"}) for i in range(2)])

with DAG(dag_id="e2e_ui_orphan", schedule=None, catchup=False):
    RunOperationOperator(
        task_id="run",
        path="projects/ui-orphan/things:run",
        json=operation(duration=3600, metadata={"statusMessage": "nobody waits for it"}),
        deferrable=False,
        poke_interval=2,
        retries=0,
    )
