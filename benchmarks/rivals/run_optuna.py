"""Optuna's ask and tell on a PostgreSQL: ``run_optuna.py FOLDER DATABASE_URL TRIALS SAMPLER``; seconds on stdout."""

from __future__ import annotations

import sys
import time

import optuna

_, _folder, url, trials, sampler = sys.argv
optuna.logging.set_verbosity(optuna.logging.WARNING)
storage = optuna.storages.RDBStorage(url.replace("postgres://", "postgresql+psycopg://", 1))
samplers = {"random": optuna.samplers.RandomSampler(seed=0), "default": None}
study = optuna.create_study(storage=storage, sampler=samplers[sampler])
began = time.monotonic()
for _number in range(int(trials)):
    trial = study.ask()
    rate = trial.suggest_float("rate", 0.0, 1.0)
    study.tell(trial, rate)
sys.stdout.write(f"{time.monotonic() - began}\n")
