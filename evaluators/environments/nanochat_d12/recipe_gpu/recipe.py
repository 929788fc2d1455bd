"""Joins the five files, on one or several devices: train a model into bytes, load it, predict. Belongs to no role."""

import os
import pathlib

import architecture
import data
import numpy as np
import optimization
import schedule
import systems
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


def train(ctx):
    """Spend the budget on a model; returns the artifact: vocabulary, then weights.

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
    words = data.learn(ctx.documents)
    sampler = data.Sampler(ctx.documents, words, ctx.seed + 1000 * rank)
    model = architecture.build_model(len(words.vocabulary)).train()
    optimizers = optimization.make_optimizers(model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    steps = schedule.steps(parameters, data.BATCH * data.CONTEXT)
    number, fraction = 0, 0.0
    while fraction < 1.0:
        windows = max(1, data.batch_size(fraction) // count)
        tokens = sampler.batch(fraction, windows).to(device, non_blocking=True)
        systems.step(model, optimizers, tokens, fraction, count)
        number += 1
        fraction = agreed(schedule.fraction(number, steps, ctx.budget.spent() / ctx.budget.units), count, device)
    state = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    torch.set_default_device("cpu")
    spelling = words.to_bytes()
    return len(spelling).to_bytes(4, "little") + spelling + systems.pack(state)


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

    def vocabulary(self):
        """What each token spells."""
        return self.words.vocabulary

    def encode(self, text):
        """Token numbers that spell the text."""
        return self.words.encode(text)

    def logits(self, tokens):
        """tokens int32 (B, T) -> float32 (B, T, V); row t scores token t from tokens before t only."""
        return self.logits_from(tokens, 0)

    def logits_from(self, tokens, first):
        """The same from position ``first`` on: float32 (B, T - first, V)."""
        placed = torch.from_numpy(tokens.astype(np.int64)).to(self.device)
        found = systems.predict(self.model, placed, self.words.start(), first)
        return found.float().cpu().numpy()


def load(artifact, ctx):
    """The artifact of train -> predictor on the first device, in a process that has seen nothing else."""
    torch.manual_seed(ctx.seed)
    length = int.from_bytes(artifact[:4], "little")
    words = data.Tokenizer.from_bytes(artifact[4 : 4 + length])
    model = architecture.build_model(len(words.vocabulary)).eval()
    model.load_state_dict(systems.unpack(artifact[4 + length :], model.state_dict()))
    device = place(ctx, 0)
    torch.set_default_device(device)
    return Predictor(words, model.to(device), device)
