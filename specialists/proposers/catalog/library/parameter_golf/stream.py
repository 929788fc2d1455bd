"""Architecture, around the blocks: embeddings, positions, the head."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("architecture", "architecture.py")
MODEL = "LanguageModel"


def width_in(edit: Edit) -> str:
    """The name by which the model's constructor knows the width of the stream."""
    return "WIDTH" if edit.finds(f"{MODEL}.__init__", "nn.Embedding(vocabulary, WIDTH)") else "width"


@LIBRARY.idea(
    "hashed-bigram",
    "token-memory",
    Band.SOME,
    "Svenstrup et al. 2017; Parameter Golf records",
    marks=["BIGRAM_ROWS"],
    size=1,
    variants=[
        Variant("small", 0.5, {"rows": 512}),
        Variant("standard", 1.0, {"rows": 1024}),
        Variant("large", 2.0, {"rows": 2048}),
    ],
)
def hashed_bigram(edit: Edit, settings: Settings) -> None:
    """A hashed table of token pairs hands every position the previous token without any attention"""
    edit.add_constant(f"BIGRAM_ROWS: int = {settings['rows']}")
    edit.insert(f"{MODEL}.__init__", f"self.bigram = nn.Embedding(BIGRAM_ROWS, {width_in(edit)})", at_end=True)
    edit.wrap_return(f"{MODEL}.embed", "V_ + self.bigram(bigram_rows(tokens))")
    edit.define(
        '''
def bigram_rows(tokens: Tensor) -> Tensor:
    """Row of the hashed table for each token and the one before it; tokens (B, T)."""
    return (tokens * 31337 + F.pad(tokens, (1, -1)) * 7919) % BIGRAM_ROWS
''',
        before=MODEL,
    )
    edit.insert("initialise", 'nn.init.zeros_(model.get_parameter("bigram.weight"))', at_end=True)


@LIBRARY.idea(
    "shrink-bigram",
    "token-memory",
    Band.UNCLEAR,
    "Weinberger et al. 2009",
    size=-1,
    variants=[Variant("half", 1.0, {"divide": 2}), Variant("quarter", 1.5, {"divide": 4})],
)
def shrink_bigram(edit: Edit, settings: Settings) -> None:
    """Fewer rows in the hashed pair table cost little, because collisions hit rare pairs first"""
    rows, divide = int(edit.number("BIGRAM_ROWS")), settings["divide"]
    edit.refuse_if(f"1/{divide} of" in edit.module.code, f"already applied: the table was cut to 1/{divide}")
    edit.refuse_if(rows < 128, f"the table has only {rows} rows")
    edit.set_constant("BIGRAM_ROWS", str(rows // divide), f"1/{divide} of {rows}")


@LIBRARY.idea("smear-gate", "token-memory", Band.UNCLEAR, "modded-nanogpt", marks=["smear_gate"])
def smear_gate(edit: Edit, settings: Settings) -> None:
    """A gate that smears each embedding onto the next position is a cheap bigram feature"""
    start = f"torch.full(({width_in(edit)},), -3.0)"
    edit.insert(f"{MODEL}.__init__", f"self.smear_gate = nn.Parameter({start})", at_end=True)
    edit.wrap_return(f"{MODEL}.embed", "self.smear(V_)")
    edit.method(
        MODEL,
        '''
def smear(self, x: Tensor) -> Tensor:
    """Every position takes a learnt share of the one before it."""
    return x + torch.sigmoid(self.smear_gate) * F.pad(x, (0, 0, 1, -1))
''',
    )


@LIBRARY.idea(
    "embedding-shortcut", "residual-paths", Band.UNCLEAR, "modded-nanogpt; Zhou et al. 2024", marks=["shortcut"]
)
def embedding_shortcut(edit: Edit, settings: Settings) -> None:
    """A learnt share of the embedding in front of every block keeps the token visible to all"""
    edit.rewrite(f"{MODEL}.forward", "block(X_, *REST_)", "block(X_ + self.shortcut * origin, *REST_)")
    edit.replace(f"{MODEL}.forward", "x = self.embed(tokens)", "origin = self.embed(tokens)\nx = origin")
    edit.insert(f"{MODEL}.__init__", f"self.shortcut = nn.Parameter(torch.zeros({width_in(edit)}))", at_end=True)


@LIBRARY.idea("embedding-norm", "normalisation", Band.UNCLEAR, "Le Scao et al. 2022 (BLOOM)", marks=["input_norm"])
def embedding_norm(edit: Edit, settings: Settings) -> None:
    """A norm right behind the embedding gives the first block inputs of unit size"""
    edit.rewrite(f"{MODEL}.forward", "self.embed(tokens)", "self.input_norm(self.embed(tokens))")
    edit.insert(f"{MODEL}.__init__", "self.input_norm = Norm(width)", at_end=True)


@LIBRARY.idea("untied-head", "head", Band.UNCLEAR, "Press and Wolf 2017 (the case against)", marks=["output"], size=1)
def untied_head(edit: Edit, settings: Settings) -> None:
    """An output matrix of its own need not serve as an input table too"""
    edit.insert(f"{MODEL}.__init__", f"self.output = nn.Linear({width_in(edit)}, vocabulary, bias=False)", at_end=True)
    edit.rewrite(f"{MODEL}.head", "self.embedding.weight", "self.output.weight")


@LIBRARY.idea("head-bias", "head", Band.UNCLEAR, "Mikolov et al. 2010", marks=["unigram"])
def head_bias(edit: Edit, settings: Settings) -> None:
    """A bias per token carries unigram frequencies, so that the matrices need not"""
    edit.insert(f"{MODEL}.__init__", "self.unigram = nn.Parameter(torch.zeros(vocabulary))", at_end=True)
    edit.wrap_return(f"{MODEL}.head", "V_ + self.unigram")


@LIBRARY.idea(
    "logit-softcap",
    "head",
    Band.UNCLEAR,
    "Gemma Team 2024",
    marks=["SOFTCAP"],
    train=1,
    evaluate=1,
    variants=[Variant("30", 1.0, {"cap": "30.0"}), Variant("15", 1.5, {"cap": "15.0"})],
)
def logit_softcap(edit: Edit, settings: Settings) -> None:
    """Logits squashed by tanh cannot become overconfident"""
    edit.add_constant(f"SOFTCAP: float = {settings['cap']}")
    edit.wrap_return(f"{MODEL}.head", "SOFTCAP * torch.tanh((V_) / SOFTCAP)")


@LIBRARY.idea(
    "rotary-base",
    "positions",
    Band.UNCLEAR,
    "Su et al. 2021",
    variants=[Variant("short", 1.0, {"turns": "4.0"}), Variant("long", 1.0, {"turns": "16.0"})],
)
def rotary_base(edit: Edit, settings: Settings) -> None:
    """Rotary wavelengths tied to the window leave no dimension that never turns"""
    edit.number("ROTARY_BASE")
    edit.set_constant("ROTARY_BASE", f"{settings['turns']} * hyperparameters.CONTEXT")
