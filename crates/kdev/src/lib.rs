//! Build, load, apply and watch an image without a registry.
