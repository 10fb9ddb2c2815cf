"""The code of the Ray actor that keeps a vLLM engine running between jobs."""
