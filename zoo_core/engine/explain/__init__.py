"""What a network looks at: activations, Grad-CAM and the pages that show them."""
