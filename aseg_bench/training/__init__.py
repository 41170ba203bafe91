"""What all trained methods share: backbone, data, engine. The one room of this package that imports torch."""
