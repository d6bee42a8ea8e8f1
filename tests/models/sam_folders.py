"""Small SAMs with random weights, in folders as the hub has them, and the library's own way to their masks."""

import json

import numpy as np
import torch
from torch.nn import functional as F

SIDE = 128
WIDTH = 32
PARTS = {
    "prompt_encoder_config": {"hidden_size": WIDTH, "image_size": SIDE, "patch_size": 16},
    "mask_decoder_config": {
        "hidden_size": WIDTH,
        "mlp_dim": 64,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": WIDTH,
    },
    "initializer_range": 0.2,
}
VIT = {
    "hidden_size": WIDTH,
    "output_channels": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "window_size": 3,
    "global_attn_indexes": [1],
    "num_pos_feats": WIDTH // 2,
    "mlp_dim": 64,
}
HIERA = {
    "backbone_config": {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 2, 2, 2],
        "window_size_per_stage": [4, 4, 4, 4],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    },
    "backbone_channel_list": [64, 32, 16, 8],
    "backbone_feature_sizes": [[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
    "fpn_hidden_size": WIDTH,
    "initializer_range": 0.2,
}
HQ = {"vit_dim": WIDTH}
SAM3_SIDE = 112
SAM3 = {
    "backbone_config": {
        "model_type": "sam3_vit_model",
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SAM3_SIDE,
        "patch_size": 14,
        "window_size": 4,
        "global_attn_indexes": [1],
        "pretrain_image_size": 56,
        "initializer_range": 0.2,
    },
    "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
    "fpn_hidden_size": WIDTH,
    "initializer_range": 0.2,
}


def new_network(kind):
    """A network of the library: sam, sam_hq, sam2 or sam3_tracker."""
    import transformers

    prefix = {"sam": "Sam", "sam_hq": "SamHQ", "sam2": "Sam2", "sam3_tracker": "Sam3Tracker"}[kind]
    parts = json.loads(json.dumps(PARTS))
    if kind == "sam2":
        vision = HIERA
    elif kind == "sam3_tracker":
        vision = SAM3
        parts["prompt_encoder_config"] |= {"image_size": SAM3_SIDE, "patch_size": 14}
    else:
        vision = VIT
        parts["prompt_encoder_config"]["image_embedding_size"] = SIDE // 16
    if kind == "sam_hq":
        parts["mask_decoder_config"] |= HQ
    config = getattr(transformers, f"{prefix}Config")(vision_config=vision, **parts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = getattr(transformers, f"{prefix}Model")(config).eval()
        # Random biases, too: what is left out of a computation would not show otherwise.
        for value in network.parameters():
            if not value.any():
                torch.nn.init.normal_(value, std=0.2)
    return network


def sam_folder(folder, kind):
    """Write a network with random weights; the folder and the network."""
    network = new_network(kind)
    network.save_pretrained(folder)
    if kind != "sam3_tracker":
        preprocessing = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return folder, network


def processor():
    """SAM's processor, as the library has it without torchvision."""
    from transformers import SamProcessor

    try:
        from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil as Images
    except ImportError:  # before transformers 5
        from transformers import SamImageProcessor as Images
    sides = {"size": {"longest_edge": SIDE}, "pad_size": {"height": SIDE, "width": SIDE}}
    return SamProcessor(Images(**sides))


def masks_of_library(network, image, clicks, several):
    """Logits of SAM or SAM-HQ at the size of the image, (K, H, W), by the library's own processor and model."""
    made = processor()
    inputs = made(
        images=image,
        input_points=[[[[click.col, click.row] for click in clicks]]],
        input_labels=[[[int(click.positive) for click in clicks]]],
        return_tensors="pt",
    )
    sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
    inputs = {key: value.float() if value.is_floating_point() else value for key, value in inputs.items()}
    with torch.no_grad():
        found = network(**inputs, multimask_output=several).pred_masks
    (logits,) = made.image_processor.post_process_masks(found, *sizes, binarize=False)
    return logits[0].numpy()


def masks_by_hand(network, image, clicks, several):
    """Logits of SAM 2 or 3 at the size of the image, (K, H, W); its processor needs torchvision."""
    height, width = image.shape[:2]
    side = network.config.prompt_encoder_config.image_size
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    pixels = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True).double() / 255
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    if side == SAM3_SIDE:
        mean = deviation = np.full(3, 0.5)
    pixels = (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]
    points = [[click.col * side / width, click.row * side / height] for click in clicks]
    with torch.no_grad():
        found = network(
            pixel_values=pixels.float(),
            input_points=torch.tensor([[points]], dtype=torch.float32),
            input_labels=torch.tensor([[[int(click.positive) for click in clicks]]]),
            multimask_output=several,
        ).pred_masks[0]
    return F.interpolate(found, (height, width), mode="bilinear", align_corners=False)[0].numpy()
