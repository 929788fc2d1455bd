"""One of several processes that ask and tell: ``run_optuna.py DATABASE_URL STUDY TRIALS SAMPLER``.

Says ``ready``, begins when a line comes in, and says ``done``.
"""

from __future__ import annotations

import sys

import optuna

_, url, name, trials, sampler = sys.argv
optuna.logging.set_verbosity(optuna.logging.WARNING)
storage = optuna.storages.RDBStorage(url.replace("postgres://", "postgresql+psycopg://", 1))
chosen = {"random": optuna.samplers.RandomSampler(seed=0), "default": None}[sampler]
study = optuna.create_study(storage=storage, sampler=chosen, study_name=name, load_if_exists=True)
sys.stdout.write("ready\n")
sys.stdout.flush()
sys.stdin.readline()
for _number in range(int(trials)):
    trial = study.ask()
    rate = trial.suggest_float("rate", 0.0, 1.0)
    study.tell(trial, rate)
sys.stdout.write("done\n")
