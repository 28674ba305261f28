"""Laws of chapter 8, light finetuning."""
