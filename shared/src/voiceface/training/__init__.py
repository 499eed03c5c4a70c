"""Training runs: loop, sampling, schedules, run directory, logs."""
