"""Send the metrics of every epoch to MLflow.

pip install mlflow
python -m cervix_jax.main --config=configs/rcan.py --hook=mlflow_hook:log

The command finds this file in the working directory. MLFLOW_TRACKING_URI sets the store, such as
sqlite:///mlflow.db, and MLFLOW_EXPERIMENT_NAME the experiment. A run that is resumed continues its
curve if every start has the same MLFLOW_RUN_ID.
"""

import mlflow  # pyright: ignore[reportMissingImports]


def log(step: int, epoch: int, values: dict[str, float]) -> None:
    """One run in MLflow for each seed and fold."""
    name = f"seed{values['seed']}-fold{values['fold']}"
    run = mlflow.active_run()
    if run is None or run.data.tags.get("member") != name:
        mlflow.end_run()
        mlflow.start_run(run_name=name, tags={"member": name})
    mlflow.log_metrics(values, step=step)
