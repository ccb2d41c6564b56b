"""What training hands on: the merged model, its GGUF files, and what people read beside them."""
