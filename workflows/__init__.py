"""Durable orchestration: a job's life, and the schedules and watchers around it."""
