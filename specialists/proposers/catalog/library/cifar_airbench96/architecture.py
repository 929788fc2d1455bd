"""Architecture of airbench: what the network costs and what it can tell apart."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.library import shared
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("architecture", "architecture.py")
POOLED = "F.max_pool2d(self.convolution(X_), 2)"


def _channels(edit: Edit, code: str) -> None:
    edit.refuse_if(edit.constant_code("CHANNELS") == code, f"already applied: CHANNELS is {code}")
    edit.set_constant("CHANNELS", code)


@LIBRARY.idea("channels-last", "memory-layout", Band.STRONG, "Paszke et al. 2019; airbench (Jordan 2024)")
def channels_last(edit: Edit, settings: Settings) -> None:
    """Kernels and pictures with their channels side by side suit the convolutions of a processor"""
    edit.refuse_if(edit.mentions("channels_last"), "already applied: the network is channels-last")
    edit.wrap_return("build_model", "V_.to(memory_format=torch.channels_last)")
    edit.need_import("import torch")


@LIBRARY.idea(
    "fewer-channels",
    "channels",
    Band.SOME,
    "Howard et al. 2017 (width multiplier)",
    error=1,
    variants=[
        Variant("16-24", 0.4, {"code": "(16, 24)"}),
        Variant("12-32", 0.5, {"code": "(12, 32)"}),
        Variant("8-24", 1.5, {"code": "(8, 24)"}),
    ],
    sets=True,
)
def fewer_channels(edit: Edit, settings: Settings) -> None:
    """Time falls with the channels of both convolutions faster than accuracy does"""
    _channels(edit, settings["code"])


@LIBRARY.idea(
    "more-channels",
    "channels",
    Band.DOUBTFUL,
    "Zagoruyko and Komodakis 2016 (wide networks)",
    error=-1,
    variants=[Variant("16-48", 1.0, {"code": "(16, 48)"}), Variant("24-48", 1.5, {"code": "(24, 48)"})],
    sets=True,
)
def more_channels(edit: Edit, settings: Settings) -> None:
    """A wider network learns more from each picture and may need fewer of them"""
    _channels(edit, settings["code"])


@LIBRARY.idea(
    "hidden-size",
    "head",
    Band.UNCLEAR,
    "LeCun et al. 1998",
    error=1,
    variants=[Variant("48", 0.3, {"units": 48}), Variant("32", 0.7, {"units": 32})],
    sets=True,
)
def hidden_size(edit: Edit, settings: Settings) -> None:
    """A smaller hidden layer holds most of the weights of so small a network"""
    shared.set_number(edit, "HIDDEN", settings["units"])


@LIBRARY.idea("no-hidden-layer", "head", Band.UNCLEAR, "Lin et al. 2014 (Network in Network)", error=1)
def no_hidden_layer(edit: Edit, settings: Settings) -> None:
    """Classes read straight from the last pictures spare a matrix and its update"""
    edit.replace_run(
        "Network.__init__",
        ["self.hidden = nn.Linear(N_, HIDDEN)", "self.head = nn.Linear(HIDDEN, classes)"],
        "self.head = nn.Linear(N_, classes)",
    )
    edit.rewrite("Network.forward", "activate(self.hidden(X_))", "X_")


@LIBRARY.idea("strided-stem", "stem", Band.DOUBTFUL, "Springenberg et al. 2015; He et al. 2016", error=1)
def strided_stem(edit: Edit, settings: Settings) -> None:
    """A first convolution that steps by two computes a quarter of what pooling throws away"""
    edit.refuse_if(edit.mentions("steps"), "already applied: the first convolution steps by two")
    edit.insert("Stage.__init__", "self.steps = inputs <= 3", after="super().__init__()")
    edit.rewrite(
        "Stage.__init__",
        "nn.Conv2d(inputs, outputs, KERNEL, *REST_)",
        "nn.Conv2d(inputs, outputs, KERNEL, *REST_, stride=2 if self.steps else 1)",
    )
    edit.rewrite("Stage.forward", POOLED, "self.halved(X_)")
    edit.method(
        "Stage",
        '''
def halved(self, x: Tensor) -> Tensor:
    """The convolution, at half the size: by its own step or by pooling."""
    return self.convolution(x) if self.steps else F.max_pool2d(self.convolution(x), 2)
''',
    )


@LIBRARY.idea("average-pool", "pooling", Band.UNCLEAR, "LeCun et al. 1998; Boureau et al. 2010")
def average_pool(edit: Edit, settings: Settings) -> None:
    """Means of four pixels hand gradients to all of them and need no search for the largest"""
    edit.rewrite("Stage", "F.max_pool2d(X_, 2)", "F.avg_pool2d(X_, 2)")


@LIBRARY.idea("pool-last", "pooling", Band.DOUBTFUL, "Krizhevsky et al. 2012; Ioffe and Szegedy 2015")
def pool_last(edit: Edit, settings: Settings) -> None:
    """Norm and activation before pooling see every pixel instead of the largest of four"""
    edit.rewrite(
        "Stage.forward",
        "activate(self.norm(F.max_pool2d(self.convolution(X_), 2)))",
        "F.max_pool2d(activate(self.norm(self.convolution(X_))), 2)",
    )


@LIBRARY.idea("larger-kernels", "stem", Band.DOUBTFUL, "Tan and Le 2019 (MixConv)", error=-1)
def larger_kernels(edit: Edit, settings: Settings) -> None:
    """Kernels of five pixels see whole edges at a few times the cost"""
    shared.set_number(edit, "KERNEL", 5)


@LIBRARY.idea("gelu", "activation", Band.DOUBTFUL, "Hendrycks and Gimpel 2016; airbench (Jordan 2024)", marks=["gelu"])
def gelu(edit: Edit, settings: Settings) -> None:
    """A smooth activation passes small gradients on where ReLU stops them"""
    edit.rewrite("activate", "F.relu(X_)", "F.gelu(X_)")


@LIBRARY.idea(
    "whitened-stem", "initialisation", Band.UNCLEAR, "Page 2019; airbench (Jordan 2024)", marks=["whiten"], error=-1
)
def whitened_stem(edit: Edit, settings: Settings) -> None:
    """First kernels that whiten the patches of the first batch spare the steps that find such kernels"""
    edit.insert("Network.__init__", "self.whitened = False", at_end=True)
    edit.insert(
        "Network.forward",
        """
if self.training and not self.whitened:
    whiten(next(part for part in self.modules() if isinstance(part, nn.Conv2d)), x)
    self.whitened = True
""",
    )
    edit.define(
        '''
def whiten(convolution: nn.Conv2d, pictures: Tensor) -> None:
    """Set the first kernels to the leading directions of the pictures' patches, each at unit variance."""
    with torch.no_grad():
        size = convolution.kernel_size[0]
        patches = F.unfold(pictures, size).transpose(1, 2).flatten(0, 1)
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))
        count = min(patches.size(1), convolution.out_channels)
        kernels = (vectors / (values + 0.05).sqrt()).T.flip(0)[:count] / size
        convolution.weight[:count] = kernels.view(count, *convolution.weight.shape[1:])
''',
        before="Network",
    )
    edit.need_import("import torch")


@LIBRARY.idea("dirac-start", "initialisation", Band.UNCLEAR, "Zagoruyko and Komodakis 2017; airbench (Jordan 2024)")
def dirac_start(edit: Edit, settings: Settings) -> None:
    """Convolutions that begin by passing their inputs on hand the picture through from the first step"""
    edit.refuse_if(edit.mentions("dirac_"), "already applied: kernels start as the identity")
    edit.insert(
        "Stage.__init__", "nn.init.dirac_(self.convolution.weight[: min(inputs, outputs)].detach())", at_end=True
    )
