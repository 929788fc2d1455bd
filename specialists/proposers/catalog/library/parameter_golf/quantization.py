"""Quantisation: bits, scales, rounding, packing, compression."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("quantization", "quantization.py")


@LIBRARY.idea(
    "lzma",
    "compressor",
    Band.UNCLEAR,
    "Pavlov 1998 (LZMA); Parameter Golf records",
    marks=["lzma"],
    size=-1,
    variants=[Variant("container", 0.9, {"raw": False}), Variant("raw", 1.0, {"raw": True})],
    lossless=True,
)
def stronger_compressor(edit: Edit, settings: Settings) -> None:
    """Range coding with context packs integer weights tighter than Huffman codes"""
    if settings["raw"]:
        edit.add_constant(
            'FILTERS: list[dict[str, int]] = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20, "lc": 0, "pb": 0}]'
        )
        options = "format=lzma.FORMAT_RAW, filters=FILTERS"
    else:
        options = "preset=9"
    edit.rewrite("compress", "zlib.compress(X_, *REST_)", f"lzma.compress(X_, {options})")
    decode = f"lzma.decompress(X_, {options})" if settings["raw"] else "lzma.decompress(X_)"
    edit.rewrite("decompress", "zlib.decompress(X_, *REST_)", decode)
    edit.need_import("import lzma")
    edit.drop_import("zlib")


@LIBRARY.idea(
    "fewer-bits",
    "bit-width",
    Band.UNCLEAR,
    "Dettmers and Zettlemoyer 2023; Frantar et al. 2023",
    size=-1,
    variants=[
        Variant("int6", 1.0, {"bits": 6}),
        Variant("int5", 1.5, {"bits": 5}),
        Variant("int4", 2.0, {"bits": 4}),
    ],
    sets=True,
)
def fewer_bits(edit: Edit, settings: Settings) -> None:
    """Rounding noise of a short run's weights hides in their own noise, so fewer bits save bytes at little loss"""
    bits = edit.number("BITS")
    edit.refuse_if(bits <= settings["bits"], f"already applied: weights have {bits} bits")
    edit.set_constant("BITS", str(settings["bits"]))


@LIBRARY.idea(
    "mixed-bits",
    "bit-width",
    Band.UNCLEAR,
    "Dong et al. 2019 (HAWQ); Parameter Golf records",
    marks=["BLOCK_BITS"],
    size=-1,
    variants=[Variant("blocks-5", 1.0, {"bits": 5}), Variant("blocks-4", 1.5, {"bits": 4})],
)
def mixed_bits(edit: Edit, settings: Settings) -> None:
    """Block matrices bear coarse integers better than the tied embedding that every logit reads"""
    edit.add_constant(f"BLOCK_BITS: int = {settings['bits']}")
    edit.wrap_return("bits_of", 'min(BLOCK_BITS, V_) if "blocks" in name else V_')


@LIBRARY.idea("table-bits", "bit-width", Band.UNCLEAR, "Shen et al. 2020 (Q-BERT)", marks=["TABLE_BITS"], size=-1)
def table_bits(edit: Edit, settings: Settings) -> None:
    """Auxiliary tables outside the blocks and the embedding tolerate four bits"""
    edit.add_constant("TABLE_BITS: int = 4")
    edit.wrap_return("bits_of", 'V_ if "blocks" in name or name.startswith("embedding") else min(TABLE_BITS, V_)')


@LIBRARY.idea(
    "bit-packing", "packing", Band.UNCLEAR, "Parameter Golf records", marks=["squeeze_bits"], size=-1, lossless=True
)
def bit_packing(edit: Edit, settings: Settings) -> None:
    """Integers of few bits stored back to back leave the compressor no empty bits to guess"""
    edit.rewrite("pack", "[I_.numpy().tobytes(), S_]", "[squeeze_bits(I_.numpy(), bits_of(name)), S_]")
    packed = 'take("u1", (C_ * bits_of(name) + 7) // 8)'
    edit.rewrite("unpack", 'take("i1", C_).view(S_)', f"spread_bits({packed}, C_, bits_of(name)).view(S_)")
    edit.define(
        '''
def squeeze_bits(integers: np.ndarray, bits: int) -> bytes:
    """Signed integers -> ``bits`` bits each, back to back."""
    lanes = (integers.reshape(-1, 1).astype(np.int16) + 2 ** (bits - 1)) >> np.arange(bits)
    return np.packbits((lanes & 1).astype(np.uint8)).tobytes()


def spread_bits(raw: Tensor, count: int, bits: int) -> Tensor:
    """Inverse of squeeze_bits for ``count`` integers; raw: byte values as floats."""
    lanes = np.unpackbits(raw.numpy().astype(np.uint8))[: count * bits].reshape(count, bits).astype(np.int64)
    return torch.from_numpy(((lanes << np.arange(bits)).sum(1) - 2 ** (bits - 1)).astype(np.float32))
''',
        before="pack",
    )


@LIBRARY.idea(
    "clipped-scales",
    "scales",
    Band.UNCLEAR,
    "Banner et al. 2019; Choukroun et al. 2019",
    marks=["clipped_scales"],
    variants=[Variant("gentle", 0.5, {"low": "0.8"}), Variant("wide", 1.0, {"low": "0.5"})],
)
def clipped_scales(edit: Edit, settings: Settings) -> None:
    """Clipping a row's few largest weights rounds all the others finer"""
    edit.rewrite("quantise", "row_scales(matrix, bits)", "clipped_scales(matrix, bits)")
    edit.define(
        f'''
def clipped_scales(matrix: Tensor, bits: int) -> Tensor:
    """Row scales (N, 1) with the least squared error among clips from {settings["low"]} to 1 of the largest."""
    top, full = 2 ** (bits - 1) - 1, row_scales(matrix, bits)
    best, least = full, torch.full_like(full, torch.inf)
    for share in torch.linspace({settings["low"]}, 1.0, 11).tolist():
        scales = (full * share).half().float().clamp_min(1e-7)
        rounded = (matrix / scales).round().clamp(-top, top) * scales
        error = (rounded - matrix).square().sum(1, keepdim=True)
        best, least = torch.where(error < least, scales, best), torch.minimum(error, least)
    return best
''',
        before="quantise",
    )


@LIBRARY.idea("refitted-scales", "scales", Band.UNCLEAR, "Hubara et al. 2021", marks=["refitted"])
def refitted_scales(edit: Edit, settings: Settings) -> None:
    """Once integers are chosen, the scale that fits them best is a least-squares ratio and costs nothing"""
    edit.replace(
        "quantise", "return I_, scales", "integers = I_\nreturn integers, refitted(matrix, integers.float(), scales)"
    )
    edit.define(
        '''
def refitted(matrix: Tensor, integers: Tensor, scales: Tensor) -> Tensor:
    """Least-squares scale of every row (N, 1) for integers already chosen (N, M)."""
    size = integers.square().sum(1, keepdim=True)
    best = (matrix * integers).sum(1, keepdim=True) / size.clamp_min(1.0)
    return torch.where((size > 0) & (best > 1e-7), best, scales).half().float().clamp_min(1e-7)
''',
        before="quantise",
    )


@LIBRARY.idea(
    "coarse-scales", "scales", Band.UNCLEAR, "Micikevicius et al. 2023 (MX formats)", marks=["coarse"], size=-1
)
def coarse_scales(edit: Edit, settings: Settings) -> None:
    """Scales rounded to eighths of an octave repeat often and so compress to almost nothing"""
    edit.wrap_return("row_scales", "coarse(V_)")
    edit.define(
        '''
def coarse(scales: Tensor) -> Tensor:
    """Scales (N, 1) rounded up to a power of 2 ** (1 / 8)."""
    return (2.0 ** ((8.0 * scales.log2()).ceil() / 8.0)).half().float().clamp_min(1e-7)
''',
        before="row_scales",
    )


@LIBRARY.idea(
    "column-planes", "packing", Band.UNCLEAR, "Alted 2010 (byte shuffling)", marks=["transpose"], size=-1, lossless=True
)
def column_planes(edit: Edit, settings: Settings) -> None:
    """Columns stored together put weights of one channel, which are alike, side by side"""
    edit.refuse_if(edit.mentions("grouped"), "conflict: grouped scales do not store whole rows")
    edit.rewrite("pack", "integers.numpy()", "integers.transpose(0, 1).contiguous().numpy()")
    edit.replace(
        "unpack",
        "integers = R_.view(tensor.shape)",
        "integers = R_.view(tensor.shape[::-1]).transpose(0, 1)",
    )


@LIBRARY.idea(
    "grouped-scales",
    "scales",
    Band.UNCLEAR,
    "Dettmers and Zettlemoyer 2023 (block-wise)",
    marks=["grouped"],
    size=1,
    variants=[Variant("96", 0.5, {"group": 96}), Variant("32", 1.0, {"group": 32})],
)
def grouped_scales(edit: Edit, settings: Settings) -> None:
    """A scale for every few weights instead of every row rounds outliers' neighbours finer"""
    edit.refuse_if(edit.mentions("transpose"), "conflict: columns are stored together")
    edit.refuse_if(edit.mentions("undelta"), "conflict: rows are stored as differences")
    edit.rewrite("pack", "quantise(tensor.detach().float(), B_)", "quantise(grouped(tensor.detach().float()), B_)")
    edit.rewrite("unpack", 'take("<f2", tensor.shape[0])', 'take("<f2", grouped(tensor).size(0))')
    edit.rewrite("unpack", "integers * S_.view(-1, 1)", "(grouped(integers) * S_.view(-1, 1)).view(tensor.shape)")
    edit.define(
        f'''
def grouped(matrix: Tensor) -> Tensor:
    """Rows of {settings["group"]} neighbouring weights, or of the matrix when they do not divide it."""
    return matrix.reshape(-1, {settings["group"]}) if matrix.numel() % {settings["group"]} == 0 else matrix
''',
        before="pack",
    )


@LIBRARY.idea(
    "pruned-weights",
    "sparsity",
    Band.DOUBTFUL,
    "Han et al. 2016 (Deep Compression)",
    marks=["pruned"],
    size=-1,
    variants=[Variant("tenth", 0.5, {"share": "0.1"}), Variant("quarter", 1.0, {"share": "0.25"})],
)
def pruned_weights(edit: Edit, settings: Settings) -> None:
    """The smallest weights of each row set to zero say little and compress to almost nothing"""
    edit.rewrite("pack", "quantise(X_, B_)", "quantise(pruned(X_), B_)")
    edit.define(
        f'''
def pruned(matrix: Tensor) -> Tensor:
    """The matrix without the smallest {settings["share"]} of each row."""
    floor = matrix.abs().quantile({settings["share"]}, dim=1, keepdim=True)
    return matrix * (matrix.abs() > floor)
''',
        before="pack",
    )


@LIBRARY.idea(
    "delta-rows", "packing", Band.UNCLEAR, "Boutell 1997 (PNG filters)", marks=["undelta"], size=-1, lossless=True
)
def delta_rows(edit: Edit, settings: Settings) -> None:
    """Differences between neighbouring rows may be smaller than the rows themselves"""
    edit.refuse_if(edit.mentions("grouped"), "conflict: grouped scales do not store whole rows")
    quantised = "integers, scales = quantise(E_, B_)"
    edit.replace("pack", quantised, f"{quantised}\nintegers = delta(integers, bits_of(name))")
    edit.replace("unpack", "integers = R_", "integers = R_\nintegers = undelta(integers, bits_of(name))")
    edit.define(
        '''
def delta(integers: Tensor, bits: int) -> Tensor:
    """Each row minus the one above it, wrapped into ``bits`` bits."""
    half = 2 ** (bits - 1)
    step = integers.int().diff(dim=0, prepend=torch.zeros_like(integers[:1]).int())
    return ((step + half) % (2 * half) - half).to(torch.int8)


def undelta(steps: Tensor, bits: int) -> Tensor:
    """Inverse of delta."""
    half = 2 ** (bits - 1)
    return (steps.cumsum(0) + half) % (2 * half) - half
''',
        before="pack",
    )
