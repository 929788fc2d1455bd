"""The network: a pre-norm transformer with rotary positions and tied embeddings. Its depth is given."""

import systems
import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Fixed by the task: models of other depths are not compared.
DEPTH: int = 12
WIDTH: int = 768
HEADS: int = 6
MLP_RATIO: int = 4
INIT_STD: float = 0.02
ROTARY_BASE: float = 10000.0


def rotary_tables(length: int, size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding, each (length, size / 2) (Su et al. 2021, section 3.4)."""
    rates = ROTARY_BASE ** (-torch.arange(0, size, 2, dtype=torch.float32) / size)
    angles = torch.arange(length, dtype=torch.float32)[:, None] * rates[None, :]
    return angles.cos(), angles.sin()


def rotate(x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the halves of the last axis; x: (B, H, T, D)."""
    cosine, sine = tables
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), dim=-1)


class Norm(nn.Module):
    """Root-mean-square norm with a learnt gain (Zhang and Sennrich 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.size(-1),), self.gain, 1e-6)


class Attention(nn.Module):
    """Causal multi-head attention; x: (B, T, width) -> (B, T, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.project = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
        batch, length, width = x.shape
        query, key, value = (
            part(x).view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        mixed = systems.attend(rotate(query, tables), rotate(key, tables), value)
        return self.project(mixed.transpose(1, 2).reshape(batch, length, width))


class MLP(nn.Module):
    """Two matrices with an activation between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden, bias=False)
        self.project = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.activate(self.expand(x)))

    def activate(self, hidden: Tensor) -> Tensor:
        return F.gelu(hidden)


class Block(nn.Module):
    """Attention, then MLP, each on a normed copy and added to the stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = Norm(width)
        self.attention = Attention(width, heads)
        self.mlp_norm = Norm(width)
        self.mlp = MLP(width, MLP_RATIO * width)

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.attention(self.attention_norm(x), tables)
        return x + self.mlp(self.mlp_norm(x))


class LanguageModel(nn.Module):
    """tokens (B, T) -> logits (B, T - first, V); row t sees tokens up to and including t and predicts token t + 1."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, WIDTH)
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS) for _ in range(DEPTH))
        self.final_norm = Norm(WIDTH)

    def forward(self, tokens: Tensor, first: int = 0) -> Tensor:
        tables = rotary_tables(tokens.size(1), WIDTH // HEADS)
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x, tables)
        return self.head(self.final_norm(x[:, first:]))

    def embed(self, tokens: Tensor) -> Tensor:
        """tokens (B, T) -> stream (B, T, width)."""
        return self.embedding(tokens)

    def head(self, x: Tensor) -> Tensor:
        """stream (B, T, width) -> logits (B, T, V), with the embedding's own rows."""
        return F.linear(x, self.embedding.weight)


def initialise(model: nn.Module) -> None:
    """Normal weights of one small standard deviation; branches start at zero, so that a block starts as identity."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "project" in name:
            nn.init.zeros_(parameter)
        elif parameter.ndim == 2:
            nn.init.normal_(parameter, std=INIT_STD)


def build_model(vocabulary: int) -> nn.Module:
    """A freshly initialised model for a vocabulary of the given size."""
    model = LanguageModel(vocabulary)
    initialise(model)
    return model
