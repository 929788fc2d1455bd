"""Other systems, each in an environment of its own, made on first use."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: Where their environments are kept between runs; git ignores the folder.
ENVIRONMENTS = HERE.parent / "results" / "rivals"


@dataclass(frozen=True)
class Rival:
    """``name``: of its requirements (NAME.txt) and of the script that drives it (run_NAME.py)."""

    name: str

    def python(self) -> Path:
        """The interpreter of its environment, with exactly the release that NAME.txt pins."""
        home, wanted = ENVIRONMENTS / self.name, (HERE / f"{self.name}.txt").read_text(encoding="utf-8")
        stamp, interpreter = home / "installed.txt", home / "bin" / "python"
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            sys.stderr.write(f"rivals: installing {' '.join(wanted.split())}\n")
            venv.create(home, with_pip=True, clear=True)
            command = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*command, "-r", HERE / f"{self.name}.txt"], check=True, stdout=sys.stderr)
            stamp.write_text(wanted, encoding="utf-8")
        return interpreter

    def start(self, folder: Path, url: str, trials: int, slots: int) -> subprocess.Popen[bytes]:
        """Search from program.py in ``folder`` with the model at ``url``; a line in its trials.log ends each trial."""
        log = (folder / "output.log").open("wb")
        command = [self.python(), HERE / f"run_{self.name}.py", folder, url, str(trials), str(slots)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "PYTHON"))}
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True)


OPENEVOLVE, SHINKA, OPTUNA = Rival("openevolve"), Rival("shinka"), Rival("optuna")
OPTUNA_DASHBOARD, MLFLOW = Rival("optuna_dashboard"), Rival("mlflow")
