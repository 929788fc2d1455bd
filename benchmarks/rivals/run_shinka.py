"""Drives ShinkaEvolve as its own command does: FOLDER URL TRIALS SLOTS. Runs in ShinkaEvolve's environment.

Its defaults, but for what a model without a name needs: edits are diffs only, and embeddings, the choice among models
and the recommendations of a second model are off, all of which makes it cheaper.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from shinka.core import EvolutionConfig, ShinkaEvolveRunner
from shinka.database import DatabaseConfig
from shinka.launch import LocalJobConfig

EVALUATOR = """
import argparse
import json
import re
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--program_path")
parser.add_argument("--results_dir")
known, _ = parser.parse_known_args()
rate = re.search(r"^RATE = (\\S+)$", Path(known.program_path).read_text(), re.M)[1]
score = 1.0 - float("0." + rate[::-1].replace(".", ""))
out = Path(known.results_dir)
out.mkdir(parents=True, exist_ok=True)
(out / "metrics.json").write_text(json.dumps({"combined_score": score, "public": {}, "private": {}}))
(out / "correct.json").write_text(json.dumps({"correct": True, "error": None}))
with open(Path(__file__).parent / "trials.log", "a") as log:
    log.write(f"{time.process_time():.6f}\\n")
"""


def main() -> None:
    folder, url, trials, slots = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    os.environ["LOCAL_OPENAI_API_KEY"] = "none"
    (folder / "evaluate.py").write_text(EVALUATOR)
    evolution = EvolutionConfig(
        patch_types=["diff"], patch_type_probs=[1.0], num_generations=trials + 1,
        llm_models=[f"local/mock@{url}/v1"], llm_dynamic_selection=None,
        llm_kwargs={"temperatures": [0.7], "max_tokens": 4096},
        meta_rec_interval=None, embedding_model=None, init_program_path=str(folder / "program.py"),
        results_dir=str(folder / "output"),
    )  # fmt: skip
    job = LocalJobConfig(eval_program_path=str(folder / "evaluate.py"), python_executable=sys.executable)
    runner = ShinkaEvolveRunner(
        evolution, job, DatabaseConfig(db_path="programs.sqlite"), verbose=False, max_evaluation_jobs=slots,
        max_proposal_jobs=slots,
    )  # fmt: skip
    asyncio.run(runner.run_async())


if __name__ == "__main__":
    main()
