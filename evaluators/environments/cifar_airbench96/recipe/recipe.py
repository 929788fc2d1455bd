"""Joins the five files: train a network on labelled images, then predict. Belongs to no role."""

import architecture
import augmentation
import loss
import optimization
import regularization
import torch


def train(ctx):
    """ctx.images uint8 (N, H, W, C), ctx.labels int64 (N,) -> a network."""
    torch.manual_seed(ctx.seed)
    images, labels = augmentation.prepare(ctx.images), torch.from_numpy(ctx.labels)
    model = architecture.build_model(images.shape[1:], int(labels.max()) + 1).train()
    optimizers = optimization.make_optimizers(model)
    averaging = regularization.Averaging(model)
    for chosen, fraction in optimization.batches(len(labels)):
        batch = augmentation.augment(images[chosen], fraction)
        batch, targets = loss.select(model, batch, labels[chosen], fraction)
        objective = loss.training_loss(model(batch), targets, fraction) + regularization.penalty(model)
        objective.backward()
        optimization.step(optimizers, fraction)
        averaging.after_step(fraction)
    averaging.finish()
    return model.eval()


def predict(model, images):
    """uint8 (N, H, W, C) -> float32 (N, classes)."""
    with torch.inference_mode():
        return augmentation.predict(model, augmentation.prepare(images)).numpy()
