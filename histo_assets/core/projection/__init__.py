"""PCA, UMAP and t-SNE, and placing new points in them."""
