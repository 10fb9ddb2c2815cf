"""Find the method by which a checkpoint's stored weights are quantised.

`inspect`, the plugins, the engine's client and the check of a suite call this module.
"""

from ray_jobs.checkpoints.config_files import Config, read_config
from ray_jobs.checkpoints.errors import translates_errors
from ray_jobs.checkpoints.files import list_files
from ray_jobs.inputs.names import printable


@translates_errors
def quantization_method(uri: str) -> str | None:
    """Return the method by which the stored weights are quantised, or None if they are not.

    Looks where vLLM looks: in the config, in the config of the text model, and for a file of ModelOpt.
    """
    if method := find_quantization(read_config(uri)):
        return method
    return "modelopt" if any(entry.key == "hf_quant_config.json" for entry in list_files(uri)) else None


def find_quantization(config: Config) -> str | None:
    """Return the quantisation method from the config or the config of its text model, or None if neither has one."""
    text_config = config.text_config or {}
    for method in (
        config.quantization_config or config.compression_config,
        text_config.get("quantization_config") or text_config.get("compression_config"),
    ):
        if method:
            return printable(
                str(method.get("quant_method") or "unnamed") if isinstance(method, dict) else str(method), 60
            )
    return None
