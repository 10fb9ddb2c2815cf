"""The rooms of this repository, lowest first. A room imports only rooms that stand before it."""

ORDER: tuple[str, ...] = (
    "inputs",
    "contract",
    "storage",
    "checkpoints",
    "images",
    "sources",
    "golden",
    "planning",
    "fields",
    "engine/vllm_plugin",
    "engine",
    "engine/server",
    "engine/client",
    "engine/audit",
    "judge",
    "metrics",
    "gate",
    "report",
    "checks",
    "runtime",
    "programs",
    "plugins",
    "dags",
)
PUBLIC_MODULES: tuple[str, ...] = ()  # files at the top of ray_jobs/ that are no programs, and are meant for users

# What the control plane may import: folders and files, as paths. Importing them loads nothing heavy.
LIGHT: tuple[str, ...] = ()
