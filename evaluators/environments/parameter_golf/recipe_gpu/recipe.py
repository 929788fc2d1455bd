"""Joins the ten files, on one or several devices: train a model into bytes, load it, predict. Belongs to no role."""

import os
import pathlib

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
from torch import distributed, multiprocessing


def workers(ctx):
    """Processes that train together: one for each device, or for each thread where the processor is the device."""
    if ctx.device != "cuda":
        return ctx.threads
    return max(1, os.environ.get("CUDA_VISIBLE_DEVICES", "").count(",") + 1)


def place(ctx, rank):
    """The device of a process."""
    return torch.device(ctx.device, rank) if ctx.device == "cuda" else torch.device(ctx.device)


def precise(device):
    """Products in hyperparameters.PRECISION."""
    kind = getattr(torch, hyperparameters.PRECISION)
    return torch.autocast(device.type, dtype=kind, enabled=kind is not torch.float32)


def train(ctx):
    """Spend the budget on a model; returns the artifact: vocabulary, then packed weights.

    Processes are forked before any device is touched; the first one writes the artifact.
    """
    count = workers(ctx)
    if count == 1:
        return train_alone(ctx, 0, 1)
    written = pathlib.Path("artifact.bin").absolute()
    # They find each other over the loopback of the sandbox.
    os.environ |= {"NCCL_SOCKET_IFNAME": "lo", "GLOO_SOCKET_IFNAME": "lo"}
    multiprocessing.start_processes(train_beside, (ctx, count, written), count, start_method="fork")
    return written.read_bytes()


def train_beside(rank, ctx, count, written):
    """One of several processes, whose gradients are averaged."""
    torch.set_num_threads(1)
    meeting = written.with_name("meeting")
    backend = "nccl" if ctx.device == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=f"file://{meeting}", rank=rank, world_size=count)
    artifact = train_alone(ctx, rank, count)
    if rank == 0:
        written.write_bytes(artifact)
    distributed.barrier()
    os._exit(0)  # all is written; taking gloo down aborts one process in twenty


def train_alone(ctx, rank, count):
    """The whole training as one process of ``count`` sees it; returns the artifact."""
    device = place(ctx, rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.set_default_device(device)
    torch.manual_seed(ctx.seed)
    words = tokenizer.learn(ctx.documents)
    sampler = curriculum.Sampler(ctx.documents, words, ctx.seed + 1000 * rank)
    model = architecture.build_model(len(words.vocabulary)).train()
    optimizers = optimization.make_optimizers(model)
    averaging = regularization.Averaging(model)
    limit = hyperparameters.TRAIN_SHARE * ctx.budget.units
    fraction = ctx.budget.spent() / limit
    while fraction < 1.0:
        gradients(model, sampler, fraction, count, device)
        averaging.before_step(fraction)
        optimization.step(model, optimizers, fraction)
        averaging.after_step(fraction)
        fraction = agreed(ctx.budget.spent() / limit, count, device)
    state = {name: tensor.cpu() for name, tensor in averaging.final_state().items()}
    torch.set_default_device("cpu")
    spelling = words.to_bytes()
    return len(spelling).to_bytes(4, "little") + spelling + quantization.pack(state)


def gradients(model, sampler, fraction, count, device):
    """Gradients of this process's share of a batch, in portions; then their mean over all processes."""
    windows = max(1, curriculum.batch_size(fraction) // count)
    portion = min(windows, hyperparameters.WINDOWS_AT_ONCE)
    for begin in range(0, windows, portion):
        rows = min(portion, windows - begin)
        tokens = sampler.batch(fraction, rows).to(device, non_blocking=True)
        with precise(device):
            logits = model(tokens[:, :-1]).float()
        objective = loss.training_loss(logits, tokens[:, 1:], fraction) + regularization.penalty(model, logits)
        (objective * (rows / windows)).backward()
    if count > 1:
        flat = torch.cat([p.grad.flatten() for p in model.parameters()])
        distributed.all_reduce(flat)
        means = flat.div_(count).split([p.numel() for p in model.parameters()])
        for p, mean in zip(model.parameters(), means, strict=True):
            p.grad.copy_(mean.view_as(p))


def agreed(fraction, count, device):
    """The furthest that any process is: all stop after the same step."""
    if count == 1:
        return fraction
    told = torch.tensor([fraction], dtype=torch.float64, device=device)
    distributed.all_reduce(told, op=distributed.ReduceOp.MAX)
    return float(told)


class Predictor:
    """What the evaluator talks to: numpy in, numpy out."""

    def __init__(self, words, model, device):
        self.words = words
        self.model = model
        self.device = device
        adapter = test_time_training.make_adapter(model)
        if adapter is not None:
            self.adapt = lambda tokens: adapter(self.placed(tokens))

    def placed(self, tokens):
        """Tokens (B, T) of the evaluator on the device."""
        return torch.from_numpy(tokens.astype(np.int64)).to(self.device)

    def vocabulary(self):
        """What each token spells."""
        return self.words.vocabulary

    def encode(self, text):
        """Token numbers that spell the text."""
        return self.words.encode(text)

    def logits(self, tokens):
        """tokens int32 (B, T) -> float32 (B, T, V); row t scores token t from tokens before t only."""
        with precise(self.device):
            found = evaluation.predict(self.model, self.placed(tokens), self.words.start())
        return found.float().cpu().numpy()


def load(artifact, ctx):
    """The artifact of train -> predictor on the first device, in a process that has seen nothing else."""
    torch.manual_seed(ctx.seed)
    length = int.from_bytes(artifact[:4], "little")
    words = tokenizer.Tokenizer.from_bytes(artifact[4 : 4 + length])
    model = architecture.build_model(len(words.vocabulary)).eval()
    model.load_state_dict(quantization.unpack(artifact[4 + length :], model.state_dict()))
    device = place(ctx, 0)
    torch.set_default_device(device)
    return Predictor(words, model.to(device), device)
