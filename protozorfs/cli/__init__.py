"""The commands: arguments, exit codes and text, nothing else."""

EXIT_SIGNAL = 128  # plus the signal's number: the exit code of what a signal ended
