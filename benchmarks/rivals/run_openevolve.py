"""Drives OpenEvolve as its own command does: FOLDER URL TRIALS SLOTS. Runs in OpenEvolve's environment.

Its defaults, but for what a 40 kB program and a model without a name need.
"""

from __future__ import annotations

import sys
from pathlib import Path

from openevolve import run_evolution
from openevolve.config import Config, LLMModelConfig

EVALUATOR = """
import re
import time
from pathlib import Path

HERE = Path(__file__).parent


def evaluate(program_path):
    began = time.thread_time()
    rate = re.search(r"^RATE = (\\S+)$", Path(program_path).read_text(), re.M)[1]
    score = 1.0 - float("0." + rate[::-1].replace(".", ""))
    with open(HERE / "trials.log", "a") as log:
        log.write(f"{time.thread_time() - began:.6f}\\n")
    return {"combined_score": score}
"""


def main() -> None:
    folder, url, trials, slots = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    (folder / "evaluator.py").write_text(EVALUATOR)
    config = Config()
    model = LLMModelConfig(name="mock", api_base=f"{url}/v1", api_key="none", timeout=60, retries=3, retry_delay=1)
    config.llm.models = config.llm.evaluator_models = [model]
    config.llm.update_model_params({"max_tokens": 4096, "temperature": 0.7})
    config.max_code_length = 200_000
    config.evaluator.parallel_evaluations = slots
    config.evaluator.cascade_evaluation = False
    run_evolution(
        folder / "program.py", folder / "evaluator.py", config, trials, str(folder / "output"), cleanup=False
    )  # fmt: skip


if __name__ == "__main__":  # its workers import this file again
    main()
