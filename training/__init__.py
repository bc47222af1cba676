"""The training of the demo model: drawn scenes, prompts, losses, the loop. Not part of the installed package."""
