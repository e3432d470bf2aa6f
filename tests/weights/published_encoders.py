"""Names and shapes of encoders in published checkpoints, from their authors' files; nothing of ours
is used."""

from __future__ import annotations

from weights.shapes import Shapes, linear, norm, under


def dinov2(dim: int, depth: int, grid: int) -> Shapes:
    shapes: Shapes = {
        "cls_token": (1, 1, dim),
        "reg_token": (1, 4, dim),
        "pos_embed": (1, grid**2, dim),
    }
    shapes |= linear("patch_embed.proj", dim, 3, 16, 16) | norm("norm", dim)
    for i in range(depth):
        block = f"blocks.{i}."
        shapes |= norm(block + "norm1", dim) | norm(block + "norm2", dim)
        shapes |= linear(block + "attn.qkv", 3 * dim, dim) | linear(block + "attn.proj", dim, dim)
        shapes |= linear(block + "mlp.fc1", 4 * dim, dim) | linear(block + "mlp.fc2", dim, 4 * dim)
        shapes |= {block + "ls1.gamma": (dim,), block + "ls2.gamma": (dim,)}
    return shapes


def dinov3(dim: int, depth: int, fused: bool = False) -> Shapes:
    shapes: Shapes = {
        "patch_embed.cls_token": (1, 1, dim),
        "patch_embed.register_tokens": (1, 4, dim),
    }
    shapes |= linear("patch_embed.patch_embeddings", dim, 3, 16, 16) | norm("norm", dim)
    for i in range(depth):
        shapes |= dinov3_block(f"blocks.{i}.", dim, fused)
    return shapes


def dinov3_block(block: str, dim: int, fused: bool = False) -> Shapes:
    shapes = norm(block + "norm1", dim) | norm(block + "norm2", dim)
    if fused:
        shapes |= linear(block + "attention.qkv_proj", 3 * dim, dim)
    else:
        for x in "qkv":
            shapes |= linear(f"{block}attention.{x}_proj", dim, dim, bias=x != "k")
    shapes |= linear(block + "attention.o_proj", dim, dim)
    shapes |= {f"{block}layer_scale{j}.lambda1": (dim,) for j in (1, 2)}
    shapes |= linear(block + "mlp.up_proj", 4 * dim, dim)
    return shapes | linear(block + "mlp.down_proj", dim, 4 * dim)


def adapter(dim: int, depth: int, prior: int = 64, heads: int = 16) -> Shapes:
    shapes: Shapes = {"level_embed": (3, dim)}
    widths = [3, prior, prior, prior]
    for n, i in enumerate((0, 3, 6)):
        shapes |= {f"spm.stem.{i}.weight": (prior, widths[n], 3, 3)}
        shapes |= norm(f"spm.stem.{i + 1}", prior, batch=True)
    outputs = [prior, 2 * prior, 4 * prior, 4 * prior]
    for n in (1, 2, 3):
        shapes |= {f"spm.conv{n + 1}.0.weight": (outputs[n], outputs[n - 1], 3, 3)}
        shapes |= norm(f"spm.conv{n + 1}.1", outputs[n], batch=True)
    for n in range(4):
        shapes |= linear(f"spm.fc{n + 1}", dim, outputs[n], 1, 1)
        shapes |= norm(f"norm{n + 1}", dim, batch=True)
    places = [f"interactions.{i}.extractor." for i in range(4)]
    places += [f"interactions.3.extra_extractors.{i}." for i in range(2)]
    for place in places:
        for name in ("query_norm", "feat_norm", "ffn_norm"):
            shapes |= norm(place + name, dim)
        shapes |= linear(place + "attn.sampling_offsets", heads * 4 * 2, dim)
        shapes |= linear(place + "attn.attention_weights", heads * 4, dim)
        shapes |= linear(place + "attn.value_proj", dim, dim)
        shapes |= linear(place + "attn.output_proj", dim, dim)
        shapes |= linear(place + "ffn.fc1", dim // 4, dim)
        shapes |= linear(place + "ffn.dwconv.dwconv", dim // 4, 1, 3, 3)
        shapes |= linear(place + "ffn.fc2", dim, dim // 4)
    shapes |= linear("up", dim, dim, 2, 2)
    vit = dinov2(dim, depth, 37)
    del vit["reg_token"]
    vit |= {"pos_embed": (1, 1370, dim), "mask_token": (1, dim)}
    return shapes | under("vit_module.", vit)


RESNETS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
RESNET_WIDTHS = (256, 512, 1024, 2048)


def resnet(depth: int = 50) -> Shapes:
    """detectron2's, with frozen batch norms."""
    shapes: Shapes = {"stem.conv1.weight": (64, 3, 7, 7)} | frozen("stem.conv1.norm", 64)
    inputs = 64
    for stage, (blocks, width) in enumerate(zip(RESNETS[depth], RESNET_WIDTHS, strict=True)):
        for i in range(blocks):
            block, inner = f"res{stage + 2}.{i}.", width // 4
            convolutions = {
                "conv1": (inner, inputs, 1, 1),
                "conv2": (inner, inner, 3, 3),
                "conv3": (width, inner, 1, 1),
                **({"shortcut": (width, inputs, 1, 1)} if i == 0 else {}),
            }
            for name, shape in convolutions.items():
                shapes |= {f"{block}{name}.weight": shape}
                shapes |= frozen(f"{block}{name}.norm", shape[0])
            inputs = width
    return shapes


def frozen(name: str, dim: int) -> Shapes:
    kept = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{x}": (dim,) for x in kept}


def swin(
    dim: int = 192,
    depths: tuple[int, ...] = (2, 2, 18, 2),
    heads: tuple[int, ...] = (6, 12, 24, 48),
    window: int = 12,
) -> Shapes:
    """Of the authors' code for detection."""
    shapes = linear("patch_embed.proj", dim, 3, 4, 4) | norm("patch_embed.norm", dim)
    for i, depth in enumerate(depths):
        width = dim * 2**i
        for j in range(depth):
            block = f"layers.{i}.blocks.{j}."
            shapes |= norm(block + "norm1", width) | norm(block + "norm2", width)
            shapes |= linear(block + "attn.qkv", 3 * width, width)
            shapes |= linear(block + "attn.proj", width, width)
            table = block + "attn.relative_position_"
            shapes |= {table + "bias_table": ((2 * window - 1) ** 2, heads[i])}
            shapes |= {table + "index": (window**2, window**2)}
            shapes |= linear(block + "mlp.fc1", 4 * width, width)
            shapes |= linear(block + "mlp.fc2", width, 4 * width)
        if i < 3:
            merging = f"layers.{i}.downsample."
            shapes |= {merging + "reduction.weight": (2 * width, 4 * width)}
            shapes |= norm(merging + "norm", 4 * width)
        shapes |= norm(f"norm{i}", width)
    return shapes


def swin_tiny() -> Shapes:
    return swin(96, (2, 2, 6, 2), (3, 6, 12, 24), 7)
