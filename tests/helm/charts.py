"""Our chart as Helm itself renders it."""

from pathlib import Path
from typing import Any

import helm_python
import yaml

HELM = Path(__file__).parents[2] / "helm"
CHART = HELM / "assay"
# The defaults, then the values of each example in ci/.
VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    **{path.stem.removesuffix("-values"): yaml.safe_load(path.read_text()) for path in sorted(CHART.glob("ci/*.yaml"))},
}


def render(values: dict[str, Any], release: str = "assay") -> list[dict[str, Any]]:
    """Every manifest of the chart. Raises HelmError if Helm refuses the values."""
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(values, name=release, namespace="assay")
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]


def find_manifest(manifests: list[dict[str, Any]], kind: str, suffix: str = "") -> dict[str, Any]:
    """The one manifest of this kind whose name ends with the suffix."""
    (manifest,) = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"].endswith(suffix)]
    return manifest


def pod_templates(cluster: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pod templates of a RayCluster: `head`, and one for each worker group."""
    spec = cluster["spec"]
    return {
        "head": spec["headGroupSpec"]["template"],
        **{group["groupName"]: group["template"] for group in spec["workerGroupSpecs"]},
    }
