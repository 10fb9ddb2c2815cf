"""In vLLM's own processes: load and swap weights, and prove which weights are resident."""
