"""UniAS, the one-for-all anomaly segmentation model of Ma et al. (WACV 2025), readable beside the paper."""
