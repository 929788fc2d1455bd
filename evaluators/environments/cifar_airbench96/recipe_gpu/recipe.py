"""Joins the five files: train a network on labelled images, then predict. Belongs to no role."""

import architecture
import augmentation
import loss
import optimization
import regularization
import torch


def train(ctx):
    """ctx.images uint8 (N, H, W, C), ctx.labels int64 (N,) -> a network on ctx.device."""
    torch.manual_seed(ctx.seed)
    device = torch.device(ctx.device)
    images, labels = augmentation.prepare(ctx.images, device), torch.from_numpy(ctx.labels).to(device)
    model = architecture.build_model(images, int(labels.max()) + 1).train()
    pictures = augmentation.Pictures(images)
    optimizers = optimization.make_optimizers(model)
    averaging = regularization.Averaging(model)
    for chosen, epoch, fraction in optimization.batches(len(labels), device):
        with architecture.precision(device):
            batch = pictures.batch(chosen, epoch, fraction)
            batch, targets = loss.select(model, batch, labels[chosen], fraction)
            objective = loss.training_loss(model(batch), targets, fraction) + regularization.penalty(model)
        objective.backward()
        optimization.step(optimizers, fraction)
        averaging.after_step(fraction)
    averaging.finish()
    return model.eval()


def predict(model, images):
    """uint8 (N, H, W, C) -> float32 (N, classes)."""
    device = next(model.parameters()).device
    with torch.inference_mode(), architecture.precision(device):
        return augmentation.predict(model, augmentation.prepare(images, device)).float().cpu().numpy()
