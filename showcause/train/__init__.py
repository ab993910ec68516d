"""What the recipes in ``model_store/`` call. Nothing here is needed to serve."""
