"""The rooms of this repository, lowest first. A room imports only rooms that stand before it."""

ORDER: tuple[str, ...] = (
    "inputs",
    "runtime",
    "contract",
    "storage",
    "dataset",
    "fields",
    "checkpoints",
    "images",
    "planning",
    "report",
    "engine",
    "engine/shared",
    "engine/probe",
    "engine/vllm_plugin",
    "sources",
    "engine/server",
    "golden",
    "engine/client",
    "judge",
    "engine/audit",
    "metrics",
    "command_line",
    "job",
    "gate",
    "checks",
    "programs",
    "plugins",
    "dags",
)
PUBLIC_MODULES: tuple[str, ...] = ()  # files at the top of ray_jobs/ that are no programs, and are meant for users

# What the control plane may import: folders and files, as paths. Importing them loads nothing heavy.
LIGHT: tuple[str, ...] = ()
