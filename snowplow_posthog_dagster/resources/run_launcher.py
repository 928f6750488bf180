"""The run launcher for Kubernetes: dagster-k8s's own, and labels that say what a pod is working on.

    run (assets, partition) ──> labels ──> K8sRunLauncher ──> Job

`kubectl get pods -l snowplow-posthog/partition=2022-06-06` should find the pod of a day, whoever started it.
Labels given as job tags would be on sensor runs only, because runs of UI backfills carry no job tags; labels of
the code location know neither assets nor partition. Named in deploy/dagster.yaml; with dagster_k8s's
K8sRunLauncher in its place everything else stays as it is.
"""

from dagster import DagsterRun
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.utils import sanitize_k8s_label

PREFIX = "snowplow-posthog/"


class LabelledK8sRunLauncher(K8sRunLauncher):
    """Labels every run's Job and pod with `asset`, `partition` and, for backfills, `backfill`.

    `target` is no business of a run's: it is a label of the code location (deploy/helm/values.yaml).
    """

    def get_container_context_for_run(self, dagster_run: DagsterRun) -> K8sContainerContext:
        """What dagster-k8s puts together from instance, code location and tags, and the labels."""
        context = super().get_container_context_for_run(dagster_run)
        return context.merge(K8sContainerContext(labels=run_labels(dagster_run, self._names_in_job(dagster_run))))

    def _names_in_job(self, run: DagsterRun) -> list[str]:
        """The assets of the run's whole job: a sensor's or a terminal's run selects none of them by name."""
        if run.job_snapshot_id is None or not self._instance.has_job_snapshot(run.job_snapshot_id):
            return []
        nodes = self._instance.get_job_snapshot(run.job_snapshot_id).node_names
        return sorted(name.rpartition("__")[2] for name in nodes)


def run_labels(run: DagsterRun, names_in_job: list[str]) -> dict[str, str]:
    """The labels of a run. A value has at most 63 characters, so assets are shortened to their last names."""
    names = sorted(key.path[-1] for key in run.asset_selection or ()) or names_in_job
    found = {
        "asset": ".".join(names) or run.job_name,
        "partition": run.tags.get("dagster/partition", ""),
        "backfill": run.tags.get("dagster/backfill", ""),
    }
    return {PREFIX + name: sanitize_k8s_label(value) for name, value in found.items() if value}
