"""The commands: arguments, exit codes and text, nothing else."""
