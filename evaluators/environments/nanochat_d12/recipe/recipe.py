"""Joins the five files: train a model into bytes, load it again, predict. Belongs to no role."""

import architecture
import data
import numpy as np
import optimization
import schedule
import systems
import torch


def train(ctx):
    """Spend the budget on a model; returns the artifact: vocabulary, then weights."""
    torch.manual_seed(ctx.seed)
    words = data.learn(ctx.documents)
    sampler = data.Sampler(ctx.documents, words, ctx.seed)
    model = architecture.build_model(len(words.vocabulary)).train()
    optimizers = optimization.make_optimizers(model)
    steps = schedule.steps(ctx.budget.seconds)
    for number in range(steps):
        fraction = number / steps
        systems.step(model, optimizers, sampler.batch(fraction), fraction)
    spelling = words.to_bytes()
    return len(spelling).to_bytes(4, "little") + spelling + systems.pack(model.state_dict())


class Predictor:
    """What the evaluator talks to: numpy in, numpy out."""

    def __init__(self, words, model):
        self.words = words
        self.model = model

    def vocabulary(self):
        """What each token spells."""
        return self.words.vocabulary

    def encode(self, text):
        """Token numbers that spell the text."""
        return self.words.encode(text)

    def logits(self, tokens):
        """tokens int32 (B, T) -> float32 (B, T, V); row t scores token t from tokens before t only."""
        chunk = torch.from_numpy(tokens.astype(np.int64))
        return systems.predict(self.model, chunk, self.words.start()).numpy()


def load(artifact, ctx):
    """The artifact of train -> predictor, in a process that has seen nothing else."""
    torch.manual_seed(ctx.seed)
    length = int.from_bytes(artifact[:4], "little")
    words = data.Tokenizer.from_bytes(artifact[4 : 4 + length])
    model = architecture.build_model(len(words.vocabulary)).eval()
    model.load_state_dict(systems.unpack(artifact[4 + length :], model.state_dict()))
    return Predictor(words, model)
