"""Augmentation of airbench: how pictures become numbers, how they vary, how often each is looked at."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.library import shared
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("augmentation", "augmentation.py")


def _vary(edit: Edit, name: str, code: str) -> None:
    """Send each training batch through a function of its own, behind what is done to it already."""
    edit.wrap_return("augment", f"{name}(V_)")
    edit.define(code, before="augment")


@LIBRARY.idea("flip", "mirror", Band.UNCLEAR, "Krizhevsky et al. 2012; airbench (Jordan 2024)", marks=["mirrored"])
def flip(edit: Edit, settings: Settings) -> None:
    """Pictures mirrored at random show each object from both sides"""
    _vary(
        edit,
        "mirrored",
        '''
def mirrored(batch: Tensor) -> Tensor:
    """Every picture, or with even chance its mirror image."""
    return torch.where(torch.rand(batch.size(0), 1, 1, 1) < 0.5, batch.flip(3), batch)
''',
    )


@LIBRARY.idea("alternating-flip", "mirror", Band.UNCLEAR, "airbench (Jordan 2024)", marks=["turns"])
def alternating_flip(edit: Edit, settings: Settings) -> None:
    """Epochs in turn as they are and mirrored never show the same view twice in a row"""
    edit.wrap_return("augment", "turns(V_, fraction)")
    edit.define(
        '''
def turns(batch: Tensor, fraction: float) -> Tensor:
    """The batch, mirrored in every second epoch."""
    return batch.flip(3) if int(fraction * optimization.EPOCHS) % 2 else batch
''',
        before="augment",
    )
    edit.need_import("import optimization")


@LIBRARY.idea("shifted-crops", "shift", Band.DOUBTFUL, "Krizhevsky et al. 2012", marks=["shifted"], error=1)
def shifted_crops(edit: Edit, settings: Settings) -> None:
    """Pictures moved by a pixel teach that the place does not matter"""
    _vary(
        edit,
        "shifted",
        '''
def shifted(batch: Tensor) -> Tensor:
    """The batch moved by up to a pixel each way, the same for all of its pictures; zeros move in."""
    down, right = torch.randint(3, (2,)).tolist()
    height, width = batch.shape[2:]
    return nn.functional.pad(batch, (1, 1, 1, 1))[:, :, down : down + height, right : right + width]
''',
    )


@LIBRARY.idea("cutout", "occlusion", Band.DOUBTFUL, "DeVries and Taylor 2017", marks=["cut_out"], error=1)
def cutout(edit: Edit, settings: Settings) -> None:
    """A square that is missing makes the network look at the rest"""
    _vary(
        edit,
        "cut_out",
        '''
def cut_out(batch: Tensor) -> Tensor:
    """The batch with a square of a quarter of the width blanked, at the same place in all of its pictures."""
    size = max(1, batch.size(3) // 4)
    top, left = torch.randint(batch.size(3) - size + 1, (2,)).tolist()
    blanked = batch.clone()
    blanked[:, :, top : top + size, left : left + size] = 0.0
    return blanked
''',
    )


@LIBRARY.idea("contrast-jitter", "contrast", Band.DOUBTFUL, "Howard 2013; Szegedy et al. 2015", marks=["contrasted"])
def contrast_jitter(edit: Edit, settings: Settings) -> None:
    """Brighter and darker versions make the network read shapes"""
    _vary(
        edit,
        "contrasted",
        '''
def contrasted(batch: Tensor) -> Tensor:
    """Every picture at 0.8 to 1.2 times its contrast."""
    return batch * (0.8 + 0.4 * torch.rand(batch.size(0), 1, 1, 1))
''',
    )


@LIBRARY.idea("two-looks", "looks", Band.DOUBTFUL, "Krizhevsky et al. 2012; airbench (Jordan 2024)")
def two_looks(edit: Edit, settings: Settings) -> None:
    """Predictions from a picture and its mirror image together err less often, at twice the cost"""
    edit.refuse_if(edit.finds("predict", "model(part.flip(3))"), "already applied: predictions take two looks")
    edit.rewrite("predict", "model(part)", "(model(part) + model(part.flip(3)))")


@LIBRARY.idea(
    "predict-batch",
    "looks",
    Band.UNCLEAR,
    "none: pictures of one call",
    variants=[Variant("125", 0.5, {"rows": 125}), Variant("2000", 1.0, {"rows": 2000})],
    sets=True,
)
def predict_batch(edit: Edit, settings: Settings) -> None:
    """Portions that fit into the cache, or few calls: one of the two makes predictions cheaper"""
    shared.set_number(edit, "PREDICT_BATCH", settings["rows"])


@LIBRARY.idea("pixels-in-place", "pixels", Band.UNCLEAR, "none: fewer copies of all pictures", marks=["mul_"])
def pixels_in_place(edit: Edit, settings: Settings) -> None:
    """Pictures scaled where they lie are copied once instead of four times"""
    edit.rewrite(
        "prepare",
        "(pixels.float() / 255.0 - MEAN) / DEVIATION",
        "pixels.float().mul_(1.0 / (255.0 * DEVIATION)).sub_(MEAN / DEVIATION)",
    )


@LIBRARY.idea("centred-pictures", "pixels", Band.UNCLEAR, "Coates et al. 2011 (contrast normalisation)", marks=["amax"])
def centred_pictures(edit: Edit, settings: Settings) -> None:
    """Pictures that all reach from the same black to the same white differ in what they show only"""
    edit.wrap_return("prepare", "stretched(V_)")
    edit.define(
        '''
def stretched(pictures: Tensor) -> Tensor:
    """Every picture stretched so that its darkest and its lightest pixel lie 3 apart."""
    low, high = pictures.amin((1, 2, 3), keepdim=True), pictures.amax((1, 2, 3), keepdim=True)
    return 3.0 * (pictures - low) / (high - low).clamp_min(0.1) - 1.0
''',
        before="prepare",
    )
