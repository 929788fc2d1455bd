"""Joins the ten files: train a model into bytes, load it again, predict. Belongs to no role."""

import architecture
import curriculum
import evaluation
import hyperparameters
import loss
import numpy as np
import optimization
import quantization
import regularization
import test_time_training
import tokenizer
import torch


def train(ctx):
    """Spend the budget on a model; returns the artifact: vocabulary, then packed weights."""
    torch.manual_seed(ctx.seed)
    words = tokenizer.learn(ctx.documents)
    sampler = curriculum.Sampler(ctx.documents, words, ctx.seed)
    model = architecture.build_model(len(words.vocabulary)).train()
    optimizers = optimization.make_optimizers(model)
    averaging = regularization.Averaging(model)
    limit = hyperparameters.TRAIN_SHARE * ctx.budget.units
    spent = ctx.budget.spent()
    dearest = 0.0
    while spent + dearest <= limit:
        fraction = spent / limit
        tokens = sampler.batch(fraction)
        logits = model(tokens[:, :-1])
        objective = loss.training_loss(logits, tokens[:, 1:], fraction) + regularization.penalty(model, logits)
        objective.backward()
        averaging.before_step(fraction)
        optimization.step(model, optimizers, fraction)
        averaging.after_step(fraction)
        before, spent = spent, ctx.budget.spent()
        dearest = max(dearest, spent - before)
    spelling = words.to_bytes()
    return len(spelling).to_bytes(4, "little") + spelling + quantization.pack(averaging.final_state())


class Predictor:
    """What the evaluator talks to: numpy in, numpy out."""

    def __init__(self, words, model):
        self.words = words
        self.model = model
        adapter = test_time_training.make_adapter(model)
        if adapter is not None:
            self.adapt = lambda tokens: adapter(torch.from_numpy(tokens.astype(np.int64)))

    def vocabulary(self):
        """What each token spells."""
        return self.words.vocabulary

    def encode(self, text):
        """Token numbers that spell the text."""
        return self.words.encode(text)

    def logits(self, tokens):
        """tokens int32 (B, T) -> float32 (B, T, V); row t scores token t from tokens before t only."""
        chunk = torch.from_numpy(tokens.astype(np.int64))
        return evaluation.predict(self.model, chunk, self.words.start()).numpy()


def load(artifact, ctx):
    """The artifact of train -> predictor, in a process that has seen nothing else."""
    torch.manual_seed(ctx.seed)
    length = int.from_bytes(artifact[:4], "little")
    words = tokenizer.Tokenizer.from_bytes(artifact[4 : 4 + length])
    model = architecture.build_model(len(words.vocabulary)).eval()
    model.load_state_dict(quantization.unpack(artifact[4 + length :], model.state_dict()))
    return Predictor(words, model)
