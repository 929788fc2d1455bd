"""Architecture of NanoChat-D12: activations, embeddings, head and sizes, at the depth that is given."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.library import shared
from specialists.proposers.catalog.library.parameter_golf import architecture, stream
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("architecture", "architecture.py")
LIBRARY.adopt(architecture.LIBRARY, "relu-squared", "leaky-relu-squared", "qk-norm", "parallel-residual")
LIBRARY.adopt(architecture.LIBRARY, "swiglu", prior=Band.UNCLEAR)
LIBRARY.adopt(
    stream.LIBRARY,
    "hashed-bigram",
    prior=Band.STRONG,
    size=0,
    train=1,
    variants=(
        Variant("1024", 0.5, {"rows": 1024}),
        Variant("2048", 1.0, {"rows": 2048}),
        Variant("4096", 1.5, {"rows": 4096}),
    ),
)
LIBRARY.adopt(stream.LIBRARY, "smear-gate", "embedding-shortcut", "head-bias", "logit-softcap")
LIBRARY.adopt(stream.LIBRARY, "untied-head", size=0, train=1)


@LIBRARY.idea(
    "stream-width",
    "shape",
    Band.UNCLEAR,
    "Kaplan et al. 2020; Tay et al. 2022",
    train=1,
    evaluate=1,
    variants=[Variant("128", 3.0, {"width": 128}), Variant("160", 5.0, {"width": 160})],
    sets=True,
)
def stream_width(edit: Edit, settings: Settings) -> None:
    """A wider stream at the given depth holds more features and spends the budget that is left over"""
    width, heads = int(settings["width"]), int(edit.number("HEADS"))
    edit.refuse_if(heads < 1 or width % (2 * heads) != 0, f"{heads} heads do not divide a width of {width} evenly")
    shared.set_number(edit, "WIDTH", width)


@LIBRARY.idea("fused-projections", "step-cost", Band.UNCLEAR, "Radford et al. 2019 (one matrix for all)", train=-1)
def fused_projections(edit: Edit, settings: Settings) -> None:
    """Queries, keys and values from one matrix product instead of three cost fewer calls"""
    linear = "nn.Linear(width, width, bias=False)"
    edit.replace_run(
        "Attention.__init__",
        [f"self.{name} = {linear}" for name in ("query", "key", "value")],
        "self.query_key_value = nn.Linear(width, 3 * width, bias=False)",
    )
    edit.replace(
        "Attention.forward",
        """
query, key, value = (
    part(x).view(batch, length, self.heads, width // self.heads).transpose(1, 2)
    for part in (self.query, self.key, self.value)
)
""",
        "split = self.query_key_value(x).view(batch, length, 3, self.heads, width // self.heads)\n"
        "query, key, value = split.permute(2, 0, 3, 1, 4)",
    )
