"""What the stages agree on. Both planes import it: pydantic, yaml and the standard library, nothing else."""
