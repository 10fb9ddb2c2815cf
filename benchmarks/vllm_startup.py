"""Runs `vllm bench startup`. `benchmarks.start` starts it, because vLLM's own command needs a build called `vllm`."""

from vllm.benchmarks import startup
from vllm.utils.argparse_utils import FlexibleArgumentParser

if __name__ == "__main__":
    parser = FlexibleArgumentParser()
    startup.add_cli_args(parser)
    startup.main(parser.parse_args())
